package xds

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// mutate adds the changes of headers to a route that sends to these clusters. Envoy makes a cluster's changes
// before the route's, and we mean the opposite: where a backend has changes of its own, each cluster gets
// both as one.
func mutate(made *routev3.Route, from ir.Route, to []weighted) {
	action := made.GetRoute()
	own := slices.ContainsFunc(to, func(w weighted) bool {
		return w.backend != nil && (!unchanged(w.backend.RequestHeaders) || !unchanged(w.backend.ResponseHeaders))
	})
	if action == nil || !own {
		made.RequestHeadersToAdd, made.RequestHeadersToRemove = options(from.RequestHeaders), from.RequestHeaders.Remove
		made.ResponseHeadersToAdd, made.ResponseHeadersToRemove = options(from.ResponseHeaders), from.ResponseHeaders.Remove
		return
	}
	for i, cluster := range action.GetWeightedClusters().GetClusters() {
		request := merged(from.RequestHeaders, to[i].backend.RequestHeaders)
		response := merged(from.ResponseHeaders, to[i].backend.ResponseHeaders)
		cluster.RequestHeadersToAdd, cluster.RequestHeadersToRemove = options(request), request.Remove
		cluster.ResponseHeadersToAdd, cluster.ResponseHeadersToRemove = options(response), response.Remove
	}
}

func unchanged(c ir.HeaderChanges) bool { return len(c.Set)+len(c.Add)+len(c.Remove) == 0 }

// merged are changes that do what two do one after the other: what the second removes or sets makes what the
// first did to that header pointless.
func merged(first, second ir.HeaderChanges) ir.HeaderChanges {
	isSet := func(h ir.Header) bool {
		return slices.ContainsFunc(second.Set, func(by ir.Header) bool { return by.Name == h.Name })
	}
	pointless := func(h ir.Header) bool { return isSet(h) || slices.Contains(second.Remove, h.Name) }
	return ir.HeaderChanges{
		Remove: slices.Compact(slices.Sorted(slices.Values(slices.Concat(first.Remove, second.Remove)))),
		Set:    slices.Concat(slices.DeleteFunc(slices.Clone(first.Set), pointless), second.Set),
		Add:    slices.Concat(slices.DeleteFunc(slices.Clone(first.Add), pointless), second.Add),
	}
}

// options are what is set and what is added. Envoy removes first, then sets, then adds, as we do.
func options(c ir.HeaderChanges) []*corev3.HeaderValueOption {
	var made []*corev3.HeaderValueOption
	add := func(list []ir.Header, action corev3.HeaderValueOption_HeaderAppendAction) {
		for _, header := range list {
			made = append(made, &corev3.HeaderValueOption{
				// A percent sign begins a variable, two are one.
				Header:         &corev3.HeaderValue{Key: header.Name, Value: strings.ReplaceAll(header.Value, "%", "%%")},
				AppendAction:   action,
				KeepEmptyValue: header.Value == "",
			})
		}
	}
	add(c.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	add(c.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	return made
}
