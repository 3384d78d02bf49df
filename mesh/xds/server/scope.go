package server

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// scopeField of a node's metadata is the part of the mesh that its wildcard subscriptions get: a list, or
// a string separated by commas, of namespaces and of services ("<namespace>/<service>"). Envoy can only ask
// for everything, so its memory grows with the mesh unless somebody says what it is going to call.
const scopeField = "sluice.dev/scope"

// scope is a set of namespaces and services; nil is the whole mesh.
type scope map[string]bool

func newScope(field *structpb.Value) scope {
	if field == nil {
		return nil
	}
	made := scope{}
	add := func(text string) {
		for entry := range strings.SplitSeq(text, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				made[entry] = true
			}
		}
	}
	add(field.GetStringValue())
	for _, entry := range field.GetListValue().GetValues() {
		add(entry.GetStringValue())
	}
	return made
}

// has reports whether a service is in the scope.
func (s scope) has(key string) bool {
	if s == nil || s[key] {
		return true
	}
	namespace, _, _ := strings.Cut(key, "/")
	return s[namespace]
}
