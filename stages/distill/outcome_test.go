package distill

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func TestAResolutionNeedsEvidence(t *testing.T) {
	const fix = "Please restart the lamp and install version 2.1."
	for _, c := range []struct {
		name   string
		state  string
		rating int
		after  []record.Message // behind problem and fix
		kind   string
		why    string
	}{
		{"open and silent", "open", 0, nil, "open_issue", "no sign that it is solved"},
		{"closed", "closed", 0, nil, "resolution", "closed"},
		{"rated well", "open", 4, nil, "resolution", "rated"},
		{"rated in the middle", "open", 3, nil, "open_issue", "no sign that it is solved"},
		{"rated badly though closed", "closed", 2, nil, "open_issue", "rated low"},
		{"thanked", "open", 0, []record.Message{user("Thank you!")}, "resolution", "thanked"},
		{"confirmed", "snoozed", 0, []record.Message{user("It works now.")}, "resolution", "confirmed"},
		{"thanked in German", "open", 0, []record.Message{user("Vielen Dank")}, "resolution", "thanked"},
		{"closed, thanked and rated", "closed", 5, []record.Message{user("Thanks!")}, "resolution", "closed rated thanked"},
		{"still failing", "open", 0, []record.Message{user("It still doesn't work, thanks")}, "open_issue", "customer wrote last"},
		{"still failing though closed", "closed", 0, []record.Message{user("No luck, same problem")}, "open_issue", "customer wrote last"},
		{"failing, then working", "open", 0, []record.Message{user("No luck"), agent("Please try version 2.2."), user("That worked")}, "resolution", "confirmed"},
		{"thanked, then asking on", "open", 0, []record.Message{user("Thanks!"), user("But why does it blink red?")}, "open_issue", "customer wrote last"},
		{"thanks that only end a complaint", "open", 0, []record.Message{user("I cannot find version 2.1, thanks")}, "open_issue", "customer wrote last"},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := conversation(append([]record.Message{user("My lamp model L-300 does not light."), agent(fix)}, c.after...)...)
			row.Distill.State, row.Distill.RatingScore = c.state, c.rating
			rows := process(t, Config{}, row).Items[0].Knowledge
			var got []string
			for _, r := range rows {
				if r.Kind == record.KnowledgeResolution || r.Kind == record.KnowledgeOpenIssue {
					_, why, _ := strings.Cut(string(r.Metadata), `"evidence":[`)
					why, _, _ = strings.Cut(why, "]")
					got = append(got, r.Kind, strings.ReplaceAll(strings.ReplaceAll(why, `"`, ""), ",", " "))
					if r.Kind == record.KnowledgeResolution && !strings.HasPrefix(r.Content, "Please ") {
						t.Errorf("the resolution is %q", r.Content)
					}
				}
			}
			if diff := cmp.Diff([]string{c.kind, c.why}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOutcomeWithoutAnAnswer(t *testing.T) {
	row := conversation(user("My lamp does not light."))
	got := contents(process(t, Config{}, row).Items[0].Knowledge)
	want := []string{
		"summary: My lamp does not light.",
		"problem: My lamp does not light.",
		"open_issue: My lamp does not light.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	row = conversation(agent("Hello Ann, our new lamp is available now."))
	if got := contents(process(t, Config{}, row).Items[0].Knowledge); len(got) != 1 || !strings.HasPrefix(got[0], "summary:") {
		t.Errorf("an agent's message without a reply gives %q", got)
	}
}
