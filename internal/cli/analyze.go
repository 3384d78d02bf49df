package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-mesh/sluice/analysis/replay"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Exit codes of analyze, besides ExitDone and ExitError: what the judge would have done.
const (
	exitWouldRollBack = ExitRolledBack
	exitWouldHold     = ExitStalled
)

// analyze is the command's flags.
type analyze struct {
	flags     *pflag.FlagSet
	replaying bool
	output    string
	server    serverFlags
	foreign   foreignFlags
	judge     judgeFlags

	from, to, service string
	want              replay.Want
	record            string
}

func newAnalyze(env *environment) *cobra.Command {
	a := &analyze{}
	cmd := &cobra.Command{
		Use:   "analyze --replay [FILE...]",
		Short: "Try the judge on what is past: what would it have decided, and when?",
		Long: "Try the judge on what is past: a time range of a Prometheus, or a recording of one.\n\n" +
			"It walks through the scrapes of that time, asks the judge at each what it would have said, and\n" +
			"prints the moments at which something changed, and what would have been decided. It touches no\n" +
			"cluster, and changes nothing.\n\n" +
			"In the series of Sluice's proxies it finds the release by itself. Of other meshes it reads the series\n" +
			"that --preset knows, or those that --requests, --canary-matcher, --stable-matcher and\n" +
			"--error-matcher name.\n\n" +
			"Exit codes:\n" +
			"  0  it would have promoted the canary\n" +
			"  1  an error\n" +
			"  3  it would have rolled the canary back\n" +
			"  4  it could not have decided, and would have held the release\n" +
			"With several files it is the worst of them: 3 before 4 before 0.",
		Example: "  # the release of yesterday evening\n" +
			"  sluice analyze --replay --prometheus http://localhost:9090 -n shop --service cart --from 2026-03-01T18:00:00Z --to 2026-03-01T19:00:00Z\n" +
			"  # the same, with the settings of a Rollout, kept to be looked at elsewhere\n" +
			"  sluice analyze --replay --prometheus http://localhost:9090 -f rollout.yaml --from 90m --record cart.jsonl.gz\n" +
			"  sluice analyze --replay cart.jsonl.gz --alpha 0.001\n" +
			"  # a release that Flagger made with Istio\n" +
			"  sluice analyze --replay --prometheus http://localhost:9090 -n shop --service cart --preset istio --canary cart --stable cart-primary --from 90m",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.flags = cmd.Flags()
			return env.analyze(cmd.Context(), a, args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&a.replaying, "replay", false, "judge what is past (required: there is nothing else yet)")
	f.StringVar(&a.from, "from", "", "begin of the time to look at: 2026-03-01T18:00:00Z, or 90m for 90 minutes ago")
	f.StringVar(&a.to, "to", "", "its end, in the same way; now by default")
	f.StringVar(&a.service, "service", "", "name of the Service that was called")
	f.StringVar(&a.want.Canary, "canary", "", "revision (pod-template-hash) of the canary; found in the data by default. With --preset: what --revision-label says of it")
	f.StringVar(&a.want.Stable, "stable", "", "the same of stable")
	f.StringVar(&a.want.Control, "control", "", "revision that the canary is compared with instead of stable: a baseline")
	f.StringVar(&a.record, "record", "", "file to keep what was read in; gzipped where its name ends in .gz")
	f.StringVarP(&a.output, "output", "o", "", "json or yaml")
	a.server.bind(f)
	a.foreign.bind(f)
	a.judge.bind(f)
	return cmd
}

// analyze reads, judges and prints.
func (env *environment) analyze(ctx context.Context, a *analyze, files []string) error {
	switch {
	case !a.replaying:
		return errors.New("say --replay: so far analyze only judges what is past")
	case !slices.Contains([]string{"", "json", "yaml"}, a.output):
		return fmt.Errorf("--output %s: it is one of json, yaml", a.output)
	}
	options, rollout, err := a.judge.options(a.flags)
	if err != nil {
		return err
	}
	options.Want = a.want
	recordings, err := env.recordings(ctx, a, files, options, rollout)
	if err != nil {
		return err
	}
	if err := baseline(rollout, recordings); err != nil {
		return err
	}
	tell := progress(env.ErrOut)
	defer tell.end()
	options.Progress = func(at, end time.Time) { tell.at("judging", at, end) }
	var results []replay.Result
	for _, r := range recordings {
		result, err := replay.Judge(ctx, r.recording, options)
		if err != nil {
			if r.name != "" {
				err = fmt.Errorf("%s: %w", r.name, err)
			}
			return err
		}
		results = append(results, result)
	}
	tell.end()
	if err := env.printReplays(recordings, results, a.output); err != nil {
		return err
	}
	return leave(codeOf(results))
}

// baseline refuses to compare with stable where the Rollout compares with a baseline, whose revision no
// series tells.
func baseline(rollout *v1alpha1.Rollout, recordings []named) error {
	if rollout == nil || rollout.Spec.Analysis.Compare.Against != v1alpha1.RevisionBaseline {
		return nil
	}
	for _, r := range recordings {
		if h := r.recording.Header; h.Foreign == nil && (h.Release == nil || h.Release.Control == "") {
			return errors.New("--control: the Rollout compares with a baseline; say which revision that was when reading from the Prometheus, or take --filename away")
		}
	}
	return nil
}

// codeOf is the exit code for the worst of the results.
func codeOf(results []replay.Result) int {
	code := ExitDone
	for _, r := range results {
		switch r.Decisions[0].Outcome {
		case replay.RollBack:
			return exitWouldRollBack
		case replay.Hold:
			code = exitWouldHold
		case replay.Promote:
		}
	}
	return code
}

// moment reads a time: an instant, or how long ago it was.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if ago, err := time.ParseDuration(strings.TrimPrefix(text, "-")); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("--%s %s: it is neither a time nor a duration; write 2026-03-01T18:00:00Z, or 90m for 90 minutes ago", flag, text)
}

// teller shows on a terminal how far things are, in one line; anywhere else it is silent.
type teller struct {
	out   io.Writer
	shown bool
}

func progress(out io.Writer) *teller {
	if !styleOf(out).redraw {
		out = nil
	}
	return &teller{out: out}
}

func (t *teller) at(what string, at, end time.Time) {
	if t.out == nil {
		return
	}
	t.shown = true
	fmt.Fprintf(t.out, "\r\x1b[K%s: %s of %s", what, at.Local().Format("2006-01-02 15:04"), end.Local().Format("2006-01-02 15:04"))
}

// end takes the line away.
func (t *teller) end() {
	if t.shown {
		fmt.Fprint(t.out, "\r\x1b[K")
		t.shown = false
	}
}

// openFile opens a recording.
func openFile(name string) (*replay.Recording, error) {
	recording, err := replay.Open(func() (io.ReadCloser, error) {
		file, err := os.Open(name) //nolint:gosec // the person names it
		if err != nil {
			return nil, fmt.Errorf("open recording: %w", err)
		}
		return file, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return recording, nil
}
