package slack_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-mesh/sluice/notifier/slack"
)

func TestTokenFilesAreReadAnew(t *testing.T) {
	directory := t.TempDir()
	bot, app := filepath.Join(directory, "bot"), filepath.Join(directory, "app")
	tokens := slack.TokenFiles(bot, app)
	if _, _, err := tokens(t.Context()); err == nil {
		t.Error("no error without files")
	}
	for _, generation := range []string{"1", "2"} {
		for path, token := range map[string]string{bot: "xoxb-" + generation, app: "xapp-" + generation} {
			if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		gotBot, gotApp, err := tokens(t.Context())
		if err != nil || gotBot != "xoxb-"+generation || gotApp != "xapp-"+generation {
			t.Errorf("tokens = %q, %q, %v; want generation %s", gotBot, gotApp, err, generation)
		}
	}
	if gotBot, gotApp, err := slack.TokenFiles(bot, "")(t.Context()); err != nil || gotBot != "xoxb-2" || gotApp != "" {
		t.Errorf("without an app token: %q, %q, %v", gotBot, gotApp, err)
	}
}
