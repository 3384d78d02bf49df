package client

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The four messages of the discovery protocol that we need, by the field numbers of
// envoy/service/discovery/v3/discovery.proto and envoy/config/core/v3/base.proto. Envoy's generated types
// would cost each proxy several megabytes.

// request is a DeltaDiscoveryRequest.
type request struct {
	node                   *node
	typeURL                string
	subscribe, unsubscribe []string
	versions               map[string]string // initial_resource_versions, by name
	nonce                  string
	refusal                string // the message of error_detail; empty: there is none
}

// node says who we are, once per stream.
type node struct {
	id, cluster, agent string
	metadata           map[string]string
}

// response is a DeltaDiscoveryResponse.
type response struct {
	typeURL, nonce string
	resources      []resource
	removed        []string
}

// resource is a Resource with its Any.
type resource struct {
	name, version, typeURL string
	body                   []byte
}

const invalidArgument = 3 // google.rpc.Code

func appendString(b []byte, number protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), text)
}

// appendNames appends a repeated string.
func appendNames(b []byte, number protowire.Number, names []string) []byte {
	for _, name := range names {
		b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), name)
	}
	return b
}

func appendMessage(b []byte, number protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), message)
}

// appendEntry appends an entry of a map with strings as keys.
func appendEntry(b []byte, number protowire.Number, key string, value []byte) []byte {
	return appendMessage(b, number, append(appendString(nil, 1, key), value...))
}

func (r *request) encode() []byte {
	var b []byte
	if r.node != nil {
		b = appendMessage(b, 1, r.node.encode())
	}
	b = appendString(b, 2, r.typeURL)
	b = appendNames(b, 3, r.subscribe)
	b = appendNames(b, 4, r.unsubscribe)
	for _, name := range slices.Sorted(maps.Keys(r.versions)) {
		b = appendEntry(b, 5, name, appendString(nil, 2, r.versions[name]))
	}
	b = appendString(b, 6, r.nonce)
	if r.refusal != "" {
		status := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), invalidArgument)
		b = appendMessage(b, 7, appendString(status, 2, r.refusal))
	}
	return b
}

func (n *node) encode() []byte {
	b := appendString(appendString(nil, 1, n.id), 2, n.cluster)
	var metadata []byte // a Struct whose values are strings
	for _, key := range slices.Sorted(maps.Keys(n.metadata)) {
		value := protowire.AppendTag(nil, 3, protowire.BytesType)
		value = protowire.AppendString(value, n.metadata[key])
		metadata = appendEntry(metadata, 1, key, appendMessage(nil, 2, value))
	}
	if len(metadata) > 0 {
		b = appendMessage(b, 3, metadata)
	}
	return appendString(b, 6, n.agent)
}

func (r *response) encode() []byte {
	var b []byte
	for _, one := range r.resources {
		b = appendMessage(b, 2, one.encode())
	}
	b = appendString(b, 4, r.typeURL)
	b = appendString(b, 5, r.nonce)
	b = appendNames(b, 6, r.removed)
	return b
}

func (r *resource) encode() []byte {
	b := appendString(nil, 1, r.version)
	body := appendString(nil, 1, r.typeURL)
	if len(r.body) > 0 {
		body = appendMessage(body, 2, r.body)
	}
	if len(body) > 0 {
		b = appendMessage(b, 2, body)
	}
	return appendString(b, 3, r.name)
}

var errText = errors.New("text is not UTF-8")

// fields calls take with each field that has a length, and passes over all others. What take gets is a part
// of b.
func fields(b []byte, take func(number protowire.Number, value []byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := take(number, value); err != nil {
			return err
		}
	}
	return nil
}

// decodeResponse reads a response. The bodies of its resources are parts of b.
func decodeResponse(b []byte) (*response, error) {
	made := &response{}
	err := fields(b, func(number protowire.Number, value []byte) error {
		switch number {
		case 2:
			one, err := decodeResource(value)
			made.resources = append(made.resources, one)
			return err
		case 4:
			return text(value, &made.typeURL)
		case 5:
			return text(value, &made.nonce)
		case 6:
			var name string
			err := text(value, &name)
			made.removed = append(made.removed, name)
			return err
		default:
			return nil
		}
	})
	if err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	return made, nil
}

func decodeResource(b []byte) (made resource, err error) {
	err = fields(b, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			return text(value, &made.version)
		case 2:
			return fields(value, func(number protowire.Number, value []byte) error {
				switch number {
				case 1:
					return text(value, &made.typeURL)
				case 2:
					made.body = value
				}
				return nil
			})
		case 3:
			return text(value, &made.name)
		default:
			return nil
		}
	})
	return made, err
}

func text(value []byte, into *string) error {
	if !utf8.Valid(value) {
		return errText
	}
	*into = string(value)
	return nil
}
