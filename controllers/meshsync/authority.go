package meshsync

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// authorities are the bundles of certificates that policies name. ConfigMaps are not watched, since a cluster
// has many and large ones; those that are in use are read again from time to time.
type authorities struct {
	reader client.Reader

	mu    sync.Mutex
	known map[authorityKey]authority
}

type authorityKey struct {
	types.NamespacedName
	field string
}

// authority is a bundle as it was last read. One that was good stays when its ConfigMap is gone.
type authority struct {
	pem string
	err error
}

// get returns a bundle; the error says for people why there is none.
func (a *authorities) get(ctx context.Context, name types.NamespacedName, field string) (string, error) {
	key := authorityKey{name, field}
	a.mu.Lock()
	known, is := a.known[key]
	a.mu.Unlock()
	if !is {
		known = a.read(ctx, key)
		a.mu.Lock()
		if a.known == nil {
			a.known = map[authorityKey]authority{}
		}
		a.known[key] = known
		a.mu.Unlock()
	}
	return known.pem, known.err
}

// keep forgets all bundles but these.
func (a *authorities) keep(keys map[authorityKey]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.known, func(key authorityKey, _ authority) bool { return !keys[key] })
}

// changed reads all bundles again and reports whether one is not what it was.
func (a *authorities) changed(ctx context.Context) bool {
	a.mu.Lock()
	keys := slices.Collect(maps.Keys(a.known))
	a.mu.Unlock()
	changed := false
	for _, key := range keys {
		now := a.read(ctx, key)
		a.mu.Lock()
		if was, is := a.known[key]; is && now.err == nil && (was.err != nil || was.pem != now.pem) {
			a.known[key] = now
			changed = true
		}
		a.mu.Unlock()
	}
	return changed
}

func (a *authorities) read(ctx context.Context, key authorityKey) authority {
	var config corev1.ConfigMap
	if err := a.reader.Get(ctx, key.NamespacedName, &config); err != nil {
		if apierrors.IsNotFound(err) {
			return authority{err: fmt.Errorf("there is no ConfigMap %s", key.Name)}
		}
		return authority{err: fmt.Errorf("read ConfigMap %s: %w", key.Name, err)}
	}
	pem, is := config.Data[key.field]
	if !is {
		return authority{err: fmt.Errorf("ConfigMap %s has no key %s", key.Name, key.field)}
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
		return authority{err: errors.New("key " + key.field + " of ConfigMap " + key.Name + " has no certificate in PEM")}
	}
	return authority{pem: pem}
}
