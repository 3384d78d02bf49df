// Package imports tests which packages may be in the dependency graph of which others. The linter's
// depguard sees direct imports; this sees all that a program links.
package imports

import (
	"bufio"
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sluice-mesh/sluice/"

// rule says what must not be in the graph of packages, and why.
type rule struct {
	// of are packages of this module; "/..." at the end takes those below as well.
	of []string
	// never are path prefixes, whole elements only; those of this module begin with "./".
	never []string
	// but are prefixes that are allowed nevertheless.
	but []string
	// direct: only what the packages import themselves counts.
	direct bool
	why    string
}

var kubernetes = []string{"k8s.io", "sigs.k8s.io"}

var rules = map[string]rule{
	"the proxy knows no Kubernetes": {
		of:    []string{"cmd/proxy"},
		never: append([]string{"./api", "./controllers", "./internal/cli"}, kubernetes...),
		why:   "it runs beside every application: clients and types of Kubernetes would be in the memory of each pod, and its releases would be tied to theirs",
	},
	"the proxy serves no configuration, judges nothing, tells nobody": {
		of:    []string{"cmd/proxy"},
		never: []string{"./mesh/xds/server", "./analysis", "./notifier"},
		why:   "those are the operator's",
	},
	"what tests share is in no program": {
		of:    []string{"cmd/..."},
		never: []string{"./mesh/proxy/proxytest"},
		why:   "it brings package testing along",
	},
	"the mesh knows nothing of releases": {
		of:    []string{"mesh/..."},
		never: append([]string{"./api", "./controllers", "./analysis", "./notifier", "./internal/cli"}, kubernetes...),
		why:   "it moves traffic as it is told; who decides about a split, and where that is kept, can change without it",
	},
	"the meaning of a mesh is plain Go": {
		of:    []string{"mesh/ir"},
		never: []string{"github.com", "google.golang.org"},
		but:   []string{module + "mesh/ir"},
		why:   "no wire format and no library decides what a mesh can mean",
	},
	"translation does not serve": {
		of:    []string{"mesh/xds"},
		never: []string{"./mesh/xds/server", "./mesh/xds/client", "./mesh/proxy"},
		why:   "client and server share it",
	},
	"client and server of the configuration do not know each other": {
		of:    []string{"mesh/xds/client", "mesh/proxy/..."},
		never: []string{"./mesh/xds/server"},
		why:   "what the proxy needs of the server is the protocol",
	},
	"the proxy's side of the configuration links neither gRPC nor Envoy's types": {
		of:    []string{"mesh/xds/client", "mesh/xds/part"},
		never: []string{"google.golang.org/grpc", "google.golang.org/genproto", "github.com/envoyproxy", "./mesh/xds"},
		but:   []string{module + "mesh/xds/client", module + "mesh/xds/part"},
		why:   "they would cost every pod several megabytes of memory, for types of which our own proxy reads none",
	},
	"the server does not know the proxy": {
		of:    []string{"mesh/xds/server"},
		never: []string{"./mesh/xds/client", "./mesh/proxy"},
		why:   "Envoy and gRPC are its clients too",
	},
	"the judge is pure": {
		of:    []string{"analysis/..."},
		never: append([]string{"./api", "./controllers", "./mesh", "./notifier"}, kubernetes...),
		why:   "it counts requests; what a release is, and how it is steered, is not its business",
	},
	"the judgement itself asks nobody": {
		of:    []string{"analysis", "analysis/stats"},
		never: []string{"./analysis/prometheus", "github.com/prometheus", "net/http"},
		why:   "the only client of Prometheus is analysis/prometheus",
	},
	"the notifier knows events only": {
		of:    []string{"notifier/..."},
		never: append([]string{"./api", "./controllers", "./mesh", "./analysis"}, kubernetes...),
		why:   "a channel renders and delivers; it cannot look anything up in the cluster",
	},
	"the types import apimachinery only": {
		of:    []string{"api/..."},
		never: []string{"k8s.io/client-go", "k8s.io/api", "k8s.io/apiextensions-apiserver", "sigs.k8s.io/controller-runtime", "github.com/sluice-mesh"},
		but:   []string{module + "api"},
		why:   "others import them to make Rollouts, and get what they depend on as well",
	},
	"the reconcilers know no xDS and no proxy": {
		of:    []string{"controllers/..."},
		never: []string{"github.com/envoyproxy", "google.golang.org/grpc", "./mesh/xds", "./mesh/proxy", "./cmd"},
		why:   "they publish through an interface of their own, so that the mesh can change without them",
	},
	"the plan knows values only": {
		of:    []string{"controllers/plan"},
		never: []string{"k8s.io/client-go", "k8s.io/api", "sigs.k8s.io/controller-runtime", "./mesh", "./analysis", "./notifier", "github.com/prometheus"},
		why:   "a decision that reads the world cannot be simulated",
	},
	"the plan has no context, clock, chance, log or goroutine": {
		of:     []string{"controllers/plan"},
		never:  []string{"context", "net", "os", "io", "math/rand", "crypto/rand", "log", "log/slog", "sync"},
		direct: true,
		why:    "the same world must give the same decision, and nothing in it may wait",
	},
	"the command line decides nothing": {
		of:    []string{"cmd/sluice", "internal/cli"},
		never: []string{"./controllers", "./mesh", "./notifier", "github.com/envoyproxy"},
		why:   "it shows status and passes orders on; the operator decides. It has the judge only to replay what is past",
	},
	"nobody imports Kubernetes itself": {
		of:    []string{"..."},
		never: []string{"k8s.io/kubernetes"},
		why:   "it is no library; the cluster for the tests is a module of its own",
	},
	"no program links a test's cluster": {
		of:    []string{"cmd/..."},
		never: []string{"./e2e", "./charts", "sigs.k8s.io/controller-runtime/pkg/envtest"},
		why:   "what is shipped is not what tests it",
	},
}

// node is one package with what it imports itself and what is in its graph.
type node struct{ imports, graph []string }

// packages asks once for all packages of the module, without their tests.
func packages(t *testing.T) map[string]node {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-f",
		"{{.ImportPath}}\t{{join .Imports \" \"}}\t{{join .Deps \" \"}}\t{{len .GoFiles}}", "./...")
	list.Dir = filepath.Join("..", "..")
	var problems bytes.Buffer
	list.Stderr = &problems
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list packages: %v\n%s", err, problems.String())
	}
	all := map[string]node{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 4 {
			t.Fatalf("list packages: a line of %d fields: %q", len(fields), lines.Text())
		}
		if fields[3] != "0" { // a package of tests only is in nobody's graph
			all[fields[0]] = node{strings.Fields(fields[1]), strings.Fields(fields[2])}
		}
	}
	return all
}

// under reports whether a path is a prefix, or below it.
func under(path, prefix string) bool {
	prefix = strings.Replace(prefix, "./", module, 1)
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// matches reports whether a package of the module is one of a pattern's.
func matches(path, pattern string) bool {
	folder, below := strings.CutSuffix(pattern, "...")
	if !below {
		return path == module+pattern
	}
	return under(path, strings.TrimSuffix(module+folder, "/"))
}

// broken lists what a package has in its graph against a rule.
func (r rule) broken(n node) []string {
	graph := n.graph
	if r.direct {
		graph = n.imports
	}
	var found []string
	for _, path := range graph {
		is := func(prefix string) bool { return under(path, prefix) }
		if slices.ContainsFunc(r.never, is) && !slices.ContainsFunc(r.but, is) {
			found = append(found, path)
		}
	}
	return found
}

func TestImports(t *testing.T) {
	all := packages(t)
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			for _, pattern := range r.of {
				matched := 0
				for path, n := range all {
					if !matches(path, pattern) {
						continue
					}
					matched++
					if found := r.broken(n); len(found) > 0 {
						const most = 5
						t.Errorf("%s has %d packages in its graph that it must not have, because %s: %s",
							strings.TrimPrefix(path, module), len(found), r.why, strings.Join(found[:min(len(found), most)], ", "))
					}
				}
				if matched == 0 {
					t.Errorf("no package is %s: the rule keeps nothing", pattern)
				}
			}
		})
	}
}

// TestRulesCanFail holds a rule against a graph that breaks it, and one that does not.
func TestRulesCanFail(t *testing.T) {
	r := rules["the proxy knows no Kubernetes"]
	if found := r.broken(node{graph: []string{"fmt", "k8s.io/api/core/v1", module + "api/v1alpha1"}}); len(found) != 2 {
		t.Errorf("found %v, want both that are forbidden", found)
	}
	if found := r.broken(node{graph: []string{"fmt", "example.com/k8s.io", "k8s.iox/a", module + "apis"}}); len(found) != 0 {
		t.Errorf("found %v, want nothing: none is a forbidden prefix as a whole", found)
	}
	direct := rules["the plan has no context, clock, chance, log or goroutine"]
	if found := direct.broken(node{imports: []string{"time"}, graph: []string{"context"}}); len(found) != 0 {
		t.Errorf("found %v, want nothing: it is not imported directly", found)
	}
	if found := direct.broken(node{imports: []string{"context"}}); len(found) != 1 {
		t.Errorf("found %v, want context", found)
	}
}
