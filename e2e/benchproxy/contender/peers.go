package contender

import "path/filepath"

var haproxy = Contender{
	Name:  "haproxy",
	files: map[string]string{"haproxy.cfg": "haproxy.cfg"},
	command: func(_ Site, file func(string) string) (string, []string) {
		return "haproxy", []string{"-db", "-f", file("haproxy.cfg")}
	},
}

var nginx = Contender{
	Name:  "nginx",
	files: map[string]string{"nginx.conf": "nginx.conf"},
	command: func(site Site, file func(string) string) (string, []string) {
		return "nginx", []string{"-p", site.Dir, "-c", file("nginx.conf"), "-e", "stderr"}
	},
}

var caddy = Contender{
	Name:  "caddy",
	Lacks: map[Entry]string{TCP: "Caddy carries TCP only with a plug-in"},
	files: map[string]string{"caddy.json": "caddy.json"},
	command: func(site Site, file func(string) string) (string, []string) {
		return filepath.Join(site.Bin, "caddy"), []string{"run", "--config", file("caddy.json")}
	},
}

var traefik = traefikWith("traefik", false)

// traefikFast has what Traefik calls experimental: an HTTP/1.1 engine of its own instead of net/http's.
var traefikFast = traefikWith("traefik-fast", true)

func traefikWith(name string, fast bool) Contender {
	static := "traefik.yaml"
	if fast {
		static = "traefik-fast.yaml"
	}
	return Contender{
		Name:  name,
		files: map[string]string{"static.yaml": static, "dynamic.yaml": "traefik-dynamic.yaml"},
		command: func(site Site, file func(string) string) (string, []string) {
			return filepath.Join(site.Bin, "traefik"), []string{"--configFile=" + file("static.yaml")}
		},
	}
}

// reverseProxy is httputil.ReverseProxy in the smallest program that is fair to it (e2e/peers/reverseproxy).
var reverseProxy = Contender{
	Name:  "reverseproxy",
	Lacks: map[Entry]string{TCP: "httputil.ReverseProxy carries HTTP only"},
	files: map[string]string{"reverseproxy.json": "reverseproxy.json"},
	command: func(site Site, file func(string) string) (string, []string) {
		return filepath.Join(site.Bin, "reverseproxy"), []string{"-config", file("reverseproxy.json")}
	},
}
