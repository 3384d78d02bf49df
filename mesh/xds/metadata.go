package xds

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// metadataKey is where, in filter_metadata, a resource carries what Envoy's fields have no place for.
const metadataKey = "sluice.dev"

func metadata(fields map[string]*structpb.Value) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {Fields: fields}}}
}

// fieldsOf is the inverse of metadata; nil when there is nothing of ours.
func fieldsOf(data *corev3.Metadata) map[string]*structpb.Value {
	return data.GetFilterMetadata()[metadataKey].GetFields()
}

func portMetadata(port ir.Port) *corev3.Metadata {
	return metadata(map[string]*structpb.Value{
		"port":     structpb.NewStringValue(port.Name),
		"protocol": structpb.NewStringValue(string(port.Protocol)),
	})
}

// portFrom undoes portMetadata. A protocol that we do not know is one of a newer control plane: TCP is
// always right, if less.
func portFrom(fields map[string]*structpb.Value, number uint16) ir.Port {
	port := ir.Port{Name: fields["port"].GetStringValue(), Number: number, Protocol: ir.TCP}
	switch protocol := ir.Protocol(fields["protocol"].GetStringValue()); protocol {
	case ir.HTTP, ir.GRPC:
		port.Protocol = protocol
	default:
	}
	return port
}

// splitMetadata carries a split whole. The epoch is a string, since the numbers here are floats.
func splitMetadata(split ir.Split) *corev3.Metadata {
	if split.Owner == "" && split.Epoch == 0 && split.Weight == 0 && split.Stable == "" && split.Canary == "" && len(split.Shares) == 0 {
		return nil
	}
	shares := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for _, share := range split.Shares {
		shares.Fields[share.Subset] = structpb.NewNumberValue(float64(share.Weight))
	}
	fields := map[string]*structpb.Value{
		"owner":  structpb.NewStringValue(split.Owner),
		"epoch":  structpb.NewStringValue(strconv.FormatInt(split.Epoch, 10)),
		"weight": structpb.NewNumberValue(float64(split.Weight)),
		"stable": structpb.NewStringValue(split.Stable),
		"canary": structpb.NewStringValue(split.Canary),
		"shares": structpb.NewStructValue(shares),
	}
	if split.Baseline != "" { // else resources stay as they were before there were baselines
		fields["baseline"] = structpb.NewStringValue(split.Baseline)
		fields["baselineWeight"] = structpb.NewNumberValue(float64(split.BaselineWeight))
	}
	return metadata(fields)
}

// SplitOf reads the split that a RouteConfiguration carries; the zero Split where it carries none.
func SplitOf(route *routev3.RouteConfiguration) (ir.Split, error) {
	fields := fieldsOf(route.GetMetadata())
	if fields == nil {
		return ir.Split{}, nil
	}
	split := ir.Split{
		Owner:  fields["owner"].GetStringValue(),
		Stable: fields["stable"].GetStringValue(),
		Canary: fields["canary"].GetStringValue(),

		Baseline: fields["baseline"].GetStringValue(),
	}
	var errs []error
	var err error
	if text := fields["epoch"].GetStringValue(); text != "" {
		if split.Epoch, err = strconv.ParseInt(text, 10, 64); err != nil {
			errs = append(errs, fmt.Errorf("epoch %q is not a number", text))
		}
	}
	if split.Weight, err = percent(fields["weight"].GetNumberValue()); err != nil {
		errs = append(errs, err)
	}
	if split.BaselineWeight, err = percent(fields["baselineWeight"].GetNumberValue()); err != nil {
		errs = append(errs, err)
	}
	for subset, value := range fields["shares"].GetStructValue().GetFields() {
		weight, err := percent(value.GetNumberValue())
		if err != nil {
			errs = append(errs, err)
		}
		split.Shares = append(split.Shares, ir.Share{Subset: subset, Weight: weight})
	}
	slices.SortFunc(split.Shares, func(a, b ir.Share) int { return strings.Compare(a.Subset, b.Subset) })
	return split, errors.Join(errs...)
}

func percent(value float64) (uint32, error) {
	if value != math.Trunc(value) || value < 0 || value > 100 {
		return 0, fmt.Errorf("weight %v is not a whole percentage", value)
	}
	return uint32(value), nil
}
