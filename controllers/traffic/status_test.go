package traffic

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/controllers/meshsync"
)

var before, now = metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))

func condition(kind, status, reason string, since metav1.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, LastTransitionTime: since}
}

func TestSetConditions(t *testing.T) {
	wanted := []metav1.Condition{condition("Accepted", "True", "Accepted", metav1.Time{}), condition("ResolvedRefs", "False", "BackendNotFound", metav1.Time{})}
	list := []metav1.Condition{
		condition("Accepted", "True", "Old", before), condition("ResolvedRefs", "True", "ResolvedRefs", before), condition("PartiallyInvalid", "True", "a", before),
	}
	if !setConditions(&list, wanted, now) {
		t.Error("nothing has changed")
	}
	want := []metav1.Condition{condition("Accepted", "True", "Accepted", before), condition("ResolvedRefs", "False", "BackendNotFound", now)}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if setConditions(&list, wanted, metav1.NewTime(time.Unix(3000, 0))) {
		t.Error("the same again is a change")
	}
}

func TestSetRoute(t *testing.T) {
	parent := func(name string) gateway.ParentReference {
		return gateway.ParentReference{Name: gateway.ObjectName(name)}
	}
	theirs := gateway.RouteParentStatus{ParentRef: parent("edge"), ControllerName: "example.com/edge"}
	verdict := func(name string) meshsync.Verdict {
		return meshsync.Verdict{Parent: parent(name), Conditions: []metav1.Condition{condition("Accepted", "True", "Accepted", metav1.Time{})}}
	}
	status := gateway.RouteStatus{Parents: []gateway.RouteParentStatus{theirs}}
	if !setRoute(&status, []meshsync.Verdict{verdict("cart"), verdict("edge")}, now) || len(status.Parents) != 3 {
		t.Fatalf("parents are %+v", status.Parents)
	}
	if setRoute(&status, []meshsync.Verdict{verdict("edge"), verdict("cart")}, now) {
		t.Error("the same again is a change")
	}
	if !setRoute(&status, nil, now) {
		t.Error("nothing has changed")
	}
	if diff := cmp.Diff([]gateway.RouteParentStatus{theirs}, status.Parents); diff != "" {
		t.Errorf("parents (-want +got):\n%s", diff)
	}
}
