package docs_test

import (
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	sigsyaml "sigs.k8s.io/yaml"
)

// healthScripts are the Lua scripts for Argo CD, by group and kind. Argo CD runs them by the same library.
func healthScripts(t *testing.T) map[string]string {
	t.Helper()
	const prefix = "resource.customizations.health."
	scripts := map[string]string{}
	for _, b := range blocksOf(t, "yaml", 1) {
		all, err := objects(b.text)
		if err != nil {
			t.Fatalf("%s: %v", b.where, err)
		}
		for _, u := range all {
			data, _ := u.Object["data"].(map[string]any)
			for key, value := range data {
				if kind, is := strings.CutPrefix(key, prefix); is {
					scripts[kind], _ = value.(string)
				}
			}
		}
	}
	return scripts
}

// health runs a script on an object.
func health(t *testing.T, script, object string) (status, message string) {
	t.Helper()
	var values map[string]any
	if err := sigsyaml.Unmarshal([]byte(object), &values); err != nil {
		t.Fatalf("the case's own YAML: %v", err)
	}
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", luaValue(state, values))
	if err := state.DoString(script); err != nil {
		t.Fatalf("run script: %v", err)
	}
	result, is := state.Get(-1).(*lua.LTable)
	if !is {
		t.Fatalf("the script returned %s, want a table", state.Get(-1).Type())
	}
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func luaValue(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, element := range v {
			table.RawSetString(key, luaValue(state, element))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, element := range v {
			table.Append(luaValue(state, element))
		}
		return table
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}

// TestArgoHealth runs the scripts of the page on states that Rollouts and Deployments really have.
func TestArgoHealth(t *testing.T) {
	const rollout, deployment = "sluice.dev_Rollout", "apps_Deployment"
	scripts := healthScripts(t)
	for name, test := range map[string]struct{ kind, object, status, message string }{
		"not seen yet": {rollout, "{metadata: {generation: 1}}", "Progressing", "waiting for the operator"},
		"seen before the last change": {rollout,
			"{metadata: {generation: 3}, status: {phase: Healthy, observedGeneration: 2, conditions: [{type: Ready, status: 'True', reason: Healthy}]}}",
			"Progressing", "waiting for the operator"},
		"healthy": {rollout,
			"{metadata: {generation: 1}, status: {phase: Healthy, observedGeneration: 1, message: version a is stable, conditions: [{type: Ready, status: 'True', reason: Healthy}, {type: Stalled, status: 'False', reason: Healthy}]}}",
			"Healthy", "version a is stable"},
		"a step": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: judging, step: {display: 1/3 setWeight 10}, conditions: [{type: Ready, status: 'False', reason: Releasing}, {type: Stalled, status: 'False', reason: Releasing}]}}",
			"Progressing", "judging"},
		"a timed pause": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: pausing, step: {display: 2/3 pause 1m0s}, conditions: [{type: Ready, status: 'False', reason: Releasing}]}}",
			"Progressing", "pausing"},
		"a pause until somebody resumes": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: waiting, step: {display: 2/3 pause}, conditions: [{type: Ready, status: 'False', reason: Releasing}]}}",
			"Suspended", "waiting"},
		"an approval": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: waiting for approval, step: {display: 2/3 approval}, conditions: [{type: Ready, status: 'False', reason: Releasing}]}}",
			"Suspended", "waiting for approval"},
		"an approval given": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: going on, step: {display: 2/3 approval, approvedBy: jane}, conditions: [{type: Ready, status: 'False', reason: Releasing}]}}",
			"Progressing", "going on"},
		"paused by a person": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: paused by jane, paused: {by: jane}, step: {display: 1/3 setWeight 10}, conditions: [{type: Ready, status: 'False', reason: Releasing}]}}",
			"Suspended", "paused by jane"},
		"inconclusive": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: m, conditions: [{type: Ready, status: 'False', reason: Inconclusive}, {type: Stalled, status: 'True', reason: Inconclusive, message: could not decide}]}}",
			"Suspended", "could not decide"},
		"rolling back": {rollout,
			"{metadata: {generation: 1}, status: {phase: RollingBack, observedGeneration: 1, message: rolling back, conditions: [{type: Ready, status: 'False', reason: Releasing}]}}",
			"Degraded", "rolling back"},
		"rolled back": {rollout,
			"{metadata: {generation: 1}, status: {phase: RolledBack, observedGeneration: 1, message: m, conditions: [{type: Ready, status: 'False', reason: RolledBack}, {type: Stalled, status: 'True', reason: RolledBack, message: 'rolled back: errors'}]}}",
			"Degraded", "rolled back: errors"},
		"stable lost in mid-release": {rollout,
			"{metadata: {generation: 1}, status: {phase: Progressing, observedGeneration: 1, message: stays, conditions: [{type: Ready, status: 'False', reason: Degraded}, {type: Stalled, status: 'False', reason: Releasing}]}}",
			"Degraded", "stays"},

		"held": {deployment,
			"{metadata: {generation: 2, annotations: {sluice.dev/held: 'true'}}, spec: {paused: true, replicas: 2}, status: {observedGeneration: 2, replicas: 2}}",
			"Healthy", "held: its Rollout tells how the release goes"},
		"paused by somebody": {deployment,
			"{metadata: {generation: 2}, spec: {paused: true, replicas: 2}, status: {observedGeneration: 2}}",
			"Suspended", "Deployment is paused"},
		"ordinary": {deployment,
			"{metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}}",
			"Healthy", ""},
		"not observed": {deployment,
			"{metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2}}",
			"Progressing", "waiting for the new generation to be observed"},
		"rolling out": {deployment,
			"{metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, availableReplicas: 2}}",
			"Progressing", "1 of 2 replicas are updated"},
		"old pods": {deployment,
			"{metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 3}}",
			"Progressing", "old replicas are pending termination"},
		"not available": {deployment,
			"{metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1}}",
			"Progressing", "1 of 2 updated replicas are available"},
		"deadline": {deployment,
			"{metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}}",
			"Degraded", "progress deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			script := scripts[test.kind]
			if script == "" {
				t.Fatalf("no page has a script for %s", test.kind)
			}
			status, message := health(t, script, test.object)
			if status != test.status || message != test.message {
				t.Errorf("got %s %q, want %s %q", status, message, test.status, test.message)
			}
		})
	}
}
