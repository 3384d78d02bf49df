package runs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// secrets reads Secrets of one namespace, each once.
type secrets struct {
	reader    client.Reader
	namespace string
	known     map[string]*corev1.Secret
	// read are the values that were asked for.
	read []string
}

func newSecrets(reader client.Reader, namespace string) *secrets {
	return &secrets{reader: reader, namespace: namespace, known: map[string]*corev1.Secret{}}
}

// missingError is a Secret or key that is not there for us; its text says what to do.
type missingError string

func (e missingError) Error() string { return string(e) }

// isMissing tells whether a person must act; otherwise the error is the API server's, and worth another try.
func isMissing(err error) bool {
	var missing missingError
	return errors.As(err, &missing)
}

// value reads a key, without the line break that editors leave at its end.
func (s *secrets) value(ctx context.Context, ref v1alpha1.SecretKeyRef) (string, error) {
	secret, err := s.get(ctx, ref.Name)
	if err != nil {
		return "", err
	}
	value, found := secret.Data[ref.Key]
	if !found {
		return "", missingError(fmt.Sprintf("Secret %s has no key %s; add it, or correct the key", ref.Name, ref.Key))
	}
	text := strings.TrimRight(string(value), "\r\n")
	s.read = append(s.read, text)
	return text, nil
}

func (s *secrets) get(ctx context.Context, name string) (*corev1.Secret, error) {
	if secret := s.known[name]; secret != nil {
		return secret, nil
	}
	secret := &corev1.Secret{}
	err := s.reader.Get(ctx, types.NamespacedName{Namespace: s.namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, missingError(fmt.Sprintf("there is no Secret %s in namespace %s; create it, or correct the name", name, s.namespace))
	case apierrors.IsForbidden(err):
		return nil, missingError(fmt.Sprintf("the operator may not read Secret %s; set operator.readSecrets to true in the chart's values", name))
	case err != nil:
		return nil, fmt.Errorf("get secret %s: %w", name, err)
	}
	s.known[name] = secret
	return secret, nil
}

// redact takes everything that was read out of a text that is to be shown.
func (s *secrets) redact(text string) string { return check.Redact(text, s.read...) }
