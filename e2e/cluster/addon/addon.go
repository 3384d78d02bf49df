// Package addon owns what runs in every cluster as ordinary pods: the name server and Prometheus. It
// says which images they need and renders their manifests; it neither builds nor applies them.
package addon

import (
	"bytes"
	"embed"
	"fmt"
	"path/filepath"
	"text/template"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/image"
	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

// Images of the add-ons.
const (
	corednsImage    = "sluice/coredns:dev"
	prometheusImage = "sluice/prometheus:dev"
)

// unprivileged is the user of programs that need to be nobody in particular.
const unprivileged = "65532"

// Images returns the images that a cluster needs before any pod can run, made of the programs in the
// folder.
func Images(programs string) []image.Spec {
	spec := func(name, program, user string) image.Spec {
		return image.Spec{
			Name:  name,
			Files: []image.File{{Source: filepath.Join(programs, program), Target: "/" + program}},
			User:  user,
		}
	}
	return []image.Spec{
		spec(component.PauseImage, "pause", unprivileged),
		spec(corednsImage, "coredns", unprivileged),
		spec(prometheusImage, "prometheus", unprivileged),
	}
}

// Options are what a cluster's owner may choose.
type Options struct {
	ScrapeInterval time.Duration
}

//go:embed *.yaml
var manifests embed.FS

// Manifests returns all objects of the add-ons as YAML documents.
func Manifests(plan subnet.Plan, options Options) ([]byte, error) {
	if options.ScrapeInterval < time.Millisecond {
		return nil, fmt.Errorf("render add-ons: scrape interval %v is below a millisecond", options.ScrapeInterval)
	}
	parsed, err := template.New("").Option("missingkey=error").ParseFS(manifests, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("parse add-ons: %w", err)
	}
	var out bytes.Buffer
	for _, file := range []string{"coredns.yaml", "prometheus.yaml"} {
		err := parsed.ExecuteTemplate(&out, file, map[string]any{
			"DNS": plan.DNS(), "CoreDNSImage": corednsImage,
			"Prometheus": plan.Prometheus(), "PrometheusImage": prometheusImage,
			"ScrapeInterval": fmt.Sprintf("%dms", options.ScrapeInterval.Milliseconds()),
		})
		if err != nil {
			return nil, fmt.Errorf("render add-on %s: %w", file, err)
		}
	}
	return out.Bytes(), nil
}
