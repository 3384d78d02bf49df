package xds

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// metadataKey is where, in filter_metadata, a resource carries what Envoy's fields have no place for.
const metadataKey = "sluice.dev"

// splitMetadata carries a split whole, for people who look at what a client was given; no client reads it. The
// epoch is a string, since the numbers here are floats.
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
	if split.Baseline != "" {
		fields["baseline"] = structpb.NewStringValue(split.Baseline)
		fields["baselineWeight"] = structpb.NewNumberValue(float64(split.BaselineWeight))
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {Fields: fields}}}
}
