package controllers

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestYoungest(t *testing.T) {
	pod := func(hash string, ready corev1.ConditionStatus, since int, going bool) corev1.Pod {
		at := metav1.NewTime(began.Add(time.Duration(since) * time.Second))
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{hashLabel: hash}}}
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(began.Add(time.Hour))},
			{Type: corev1.PodReady, Status: ready, LastTransitionTime: at},
		}
		if going {
			p.DeletionTimestamp = &at
		}
		return p
	}
	pods := []corev1.Pod{
		pod("b", corev1.ConditionTrue, 10, false), pod("b", corev1.ConditionTrue, 30, false), pod("b", corev1.ConditionTrue, 20, false),
		pod("a", corev1.ConditionTrue, 40, false), pod("b", corev1.ConditionFalse, 50, false), pod("b", corev1.ConditionTrue, 60, true),
	}
	if got := youngest(pods, "b"); !got.Equal(began.Add(30 * time.Second)) {
		t.Errorf("the youngest is ready since %s, want 30 s", got)
	}
	if got := youngest(pods, "c"); !got.IsZero() {
		t.Errorf("no pod is ready since %s", got)
	}
}
