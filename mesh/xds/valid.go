package xds

import (
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// validate runs the rules that Envoy's definitions declare over every message, also over those that are
// carried inside an Any, where the outer message's rules do not reach.
func (r *Resources) validate() error {
	var errs []error
	check := func(name string, message proto.Message) {
		if err := valid(message); err != nil {
			errs = append(errs, fmt.Errorf("validate %T %s: %w", message, name, err))
		}
	}
	for _, listener := range r.Listeners {
		check(listener.Name, listener)
	}
	for _, route := range r.Routes {
		check(route.Name, route)
	}
	for _, cluster := range r.Clusters {
		check(cluster.Name, cluster)
	}
	for _, assignment := range r.Endpoints {
		// There is no Any in them, and they are many.
		if err := assignment.ValidateAll(); err != nil {
			errs = append(errs, fmt.Errorf("validate endpoints %s: %w", assignment.ClusterName, err))
		}
	}
	return errors.Join(errs...)
}

// valid checks a message and all that it carries inside an Any.
func valid(message proto.Message) error {
	var errs []error
	if message, ok := message.(interface{ ValidateAll() error }); ok {
		errs = append(errs, message.ValidateAll())
	}
	for packed := range packedIn(message.ProtoReflect()) {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			errs = append(errs, fmt.Errorf("unpack %s: %w", packed.GetTypeUrl(), err))
			continue
		}
		errs = append(errs, valid(inner))
	}
	return errors.Join(errs...)
}

// packedIn yields every Any in a message, at whatever depth but not inside another Any.
func packedIn(message protoreflect.Message) iter.Seq[*anypb.Any] {
	return func(yield func(*anypb.Any) bool) {
		if packed, ok := message.Interface().(*anypb.Any); ok {
			yield(packed)
			return
		}
		message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			more := true
			inside := func(inner protoreflect.Value) bool {
				for packed := range packedIn(inner.Message()) {
					more = more && yield(packed)
				}
				return more
			}
			switch {
			case field.IsMap():
				if field.MapValue().Message() != nil {
					value.Map().Range(func(_ protoreflect.MapKey, inner protoreflect.Value) bool { return inside(inner) })
				}
			case field.Message() == nil:
			case field.IsList():
				for i := range value.List().Len() {
					inside(value.List().Get(i))
				}
			default:
				inside(value)
			}
			return more
		})
	}
}
