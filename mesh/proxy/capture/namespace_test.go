package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test stands in for a pod and a node: two network namespaces joined by a veth pair. Threads enter a
// namespace and never return to the runtime (LockOSThread without unlock ends the thread).
//
//	pod  10.77.0.2, fd77::2     node 10.77.0.1, fd77::1 (gateway)   also 10.77.0.3, fd77::3 (another pod)

const dialTarget = "CAPTURE_TEST_DIAL" // makes the test binary a client: see TestMain

func TestMain(m *testing.M) {
	if target := os.Getenv(dialTarget); target != "" {
		conn, err := net.DialTimeout("tcp", target, 5*time.Second)
		if err != nil {
			fmt.Print("error: ", err)
			os.Exit(0)
		}
		answer, _ := io.ReadAll(conn)
		fmt.Print(string(answer))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// netns is a network namespace with one thread in it that runs what it is given.
type netns struct {
	tasks chan func()
	path  string
}

func newNetns(t *testing.T) *netns {
	t.Helper()
	ns := &netns{tasks: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		ns.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		for task := range ns.tasks {
			task()
		}
	}()
	if err := <-ready; err != nil {
		close(ns.tasks)
		t.Skipf("creating a network namespace: %v; run as root", err)
	}
	t.Cleanup(func() { close(ns.tasks) })
	return ns
}

func (ns *netns) do(f func()) {
	done := make(chan struct{})
	ns.tasks <- func() { defer close(done); f() }
	<-done
}

func (ns *netns) ip(t *testing.T, args string) {
	t.Helper()
	ns.do(func() {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v: %s", args, err, out)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// serve answers every connection with what answer makes of it, until the test ends.
func (ns *netns) serve(t *testing.T, address string, answer func(*net.TCPConn) string) {
	t.Helper()
	var listener net.Listener
	var err error
	ns.do(func() { listener, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, answer(conn.(*net.TCPConn)))
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
}

// ask dials as the given user (0: this process) and returns what it hears.
func (ns *netns) ask(t *testing.T, target string, uid, gid uint32) string {
	t.Helper()
	var out bytes.Buffer
	ns.do(func() {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), dialTarget+"="+target, "GORACE=atexit_sleep_ms=0")
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, NoSetGroups: true}}
		if err := cmd.Run(); err != nil {
			t.Errorf("run client: %v: %s", err, out.String())
		}
	})
	return out.String()
}

func origin(conn *net.TCPConn) string {
	dst, err := OriginalDestination(conn)
	if err != nil {
		return "error: " + err.Error()
	}
	return "proxy " + dst.String()
}

func peer(name string) func(*net.TCPConn) string {
	return func(conn *net.TCPConn) string {
		return name + " from " + conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().String()
	}
}

func TestCapture(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces and loads nftables rules")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the ip program of iproute2 to lay out the test's networks")
	}
	pod, node := newNetns(t), newNetns(t)
	pod.ip(t, "link set lo up")
	node.ip(t, "link set lo up")
	pod.ip(t, "link add eth0 type veth peer name veth0 netns "+node.path)
	pod.ip(t, "addr add 10.77.0.2/24 dev eth0")
	node.ip(t, "addr add 10.77.0.1/24 dev veth0")
	node.ip(t, "addr add 10.77.0.3/24 dev veth0")
	pod.ip(t, "link set eth0 up")
	node.ip(t, "link set veth0 up")
	pod.ip(t, "route add default via 10.77.0.1")
	families := []struct{ name, pod, node, other, service string }{
		{"ipv4", "10.77.0.2", "10.77.0.1", "10.77.0.3", "10.96.0.10"},
	}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		pod.ip(t, "addr add fd77::2/64 dev eth0 nodad")
		node.ip(t, "addr add fd77::1/64 dev veth0 nodad")
		node.ip(t, "addr add fd77::3/64 dev veth0 nodad")
		pod.ip(t, "-6 route add default via fd77::1")
		families = append(families, struct{ name, pod, node, other, service string }{
			"ipv6", "[fd77::2]", "[fd77::1]", "[fd77::3]", "[fd96::10]"})
	} else {
		t.Log("no IPv6 in this kernel: testing IPv4 only")
	}

	var gateways []netip.Addr
	var err error
	pod.do(func() { gateways, err = Gateways() })
	if err != nil || len(gateways) != len(families) || gateways[0] != netip.MustParseAddr("10.77.0.1") {
		t.Fatalf("Gateways() = %v, %v; want the node's address of each family", gateways, err)
	}

	rules := Defaults()
	rules.Node = gateways
	for range 2 { // the second run must change nothing
		pod.do(func() { err = Install(rules) })
		if err != nil {
			t.Fatalf("Install: %v", err)
		}
	}

	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			loop := map[string]string{"ipv4": "127.0.0.1", "ipv6": "[::1]"}[f.name]
			pod.serve(t, loop+":15001", origin)
			pod.serve(t, f.pod+":15006", origin)
			pod.serve(t, f.pod+":15020", peer("admin"))
			pod.serve(t, f.pod+":8080", peer("application"))
			pod.serve(t, loop+":9999", peer("local"))
			node.serve(t, f.node+":80", peer("node"))
			node.serve(t, f.node+":15010", peer("xds"))

			bare := strings.Trim
			for _, c := range []struct {
				name     string
				from     *netns
				target   string
				uid, gid uint32
				bind     string
				want     string
			}{
				{"outbound is captured", pod, f.service + ":80", 0, 0, "", "proxy " + f.service + ":80"},
				{"outbound to a live address is captured", pod, f.node + ":80", 1000, 1000, "", "proxy " + f.node + ":80"},
				{"the proxy's uid is exempt", pod, f.node + ":80", 15099, 1000, "", "node from " + bare(f.pod, "[]")},
				{"the proxy's gid is exempt", pod, f.node + ":80", 1000, 15099, "", "node from " + bare(f.pod, "[]")},
				{"own ports are exempt", pod, f.node + ":15010", 1000, 1000, "", "xds from " + bare(f.pod, "[]")},
				{"loopback is left alone", pod, loop + ":9999", 1000, 1000, "", "local from " + bare(loop, "[]")},
				{"the pod's own address is left alone", pod, f.pod + ":8080", 1000, 1000, "", "application from " + bare(f.pod, "[]")},
				{"the proxy's own dial inbound is left alone", pod, f.pod + ":8080", 15099, 15099, "", "application from " + bare(f.pod, "[]")},
				{"the node's probe is left alone", node, f.pod + ":8080", 0, 0, f.node, "application from " + bare(f.node, "[]")},
				{"a scrape is left alone", node, f.pod + ":15020", 0, 0, f.other, "admin from " + bare(f.other, "[]")},
				{"inbound is captured", node, f.pod + ":8080", 0, 0, f.other, "proxy " + f.pod + ":8080"},
				{"inbound to a closed port is captured", node, f.pod + ":7070", 0, 0, f.other, "proxy " + f.pod + ":7070"},
			} {
				t.Run(c.name, func(t *testing.T) {
					var got string
					if c.bind == "" {
						got = c.from.ask(t, c.target, c.uid, c.gid)
					} else {
						got = c.from.askFrom(t, c.target, bare(c.bind, "[]"))
					}
					if got != c.want {
						t.Errorf("heard %q, want %q", got, c.want)
					}
				})
			}
			t.Run("direct connections to the proxy are not redirected", func(t *testing.T) {
				got := node.askFrom(t, f.pod+":15006", bare(f.other, "[]"))
				if got != "error: "+ErrNotRedirected.Error() && got != "proxy "+f.pod+":15006" {
					t.Errorf("heard %q, want a refusal or the proxy's own address", got)
				}
			})
		})
	}
}

// askFrom dials from one of the namespace's addresses and returns what it hears.
func (ns *netns) askFrom(t *testing.T, target, source string) string {
	t.Helper()
	var answer string
	ns.do(func() {
		dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := dialer.Dial("tcp", target)
		if err != nil {
			answer = "error: " + err.Error()
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		answer = string(all)
	})
	return answer
}

func TestInstallWithoutCapabilityNamesTheRemedy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace and drops NET_ADMIN in it")
	}
	ns := newNetns(t)
	var err error
	ns.do(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err = unix.Capget(&header, &data[0]); err != nil {
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err = unix.Capset(&header, &data[0]); err != nil {
			return
		}
		err = Install(Defaults())
	})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "NET_ADMIN") ||
		!strings.Contains(err.Error(), "Pod Security") {
		t.Errorf("Install without NET_ADMIN: %v; want a permission error that names the capability and the remedy", err)
	}
}

func TestGatewayTables(t *testing.T) {
	v4 := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	v6 := "fd770000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd770000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"
	if got, err := gateways4(strings.NewReader(v4)); nativeLittle && (err != nil || len(got) != 1 || got[0].String() != "10.77.0.1") {
		t.Errorf("gateways4 = %v, %v; want 10.77.0.1", got, err)
	}
	if got, err := gateways6(strings.NewReader(v6)); err != nil || len(got) != 1 || got[0].String() != "fd77::1" {
		t.Errorf("gateways6 = %v, %v; want fd77::1", got, err)
	}
	if _, err := gateways4(strings.NewReader(strings.Replace(v4, "01004D0A", "01004D", 1))); err == nil {
		t.Error("gateways4 took a truncated address")
	}
}
