package distill

import (
	"strings"
	"testing"

	"haloingest/pipeline/record"
)

func TestAChosenAnswerDoesNotStandForTheQuestion(t *testing.T) {
	bot := record.Message{Speaker: record.SpeakerBot, Text: "What can I do for you?"}
	typed := user("Talk to a person")
	typed.Chosen = true
	const person = "Talk to a person"
	for _, c := range []struct {
		name, state string
		messages    []record.Message
		want        string // the problem and the title
	}{
		{"pressed behind a short question", "open", []record.Message{user("Where is my invoice?"), bot, pressed(person), agent("I have sent the invoice to you by e-mail.")}, "Where is my invoice?"},
		{"typed behind a short question", "open", []record.Message{user("Where is my invoice?"), bot, typed, agent("I have sent the invoice to you by e-mail.")}, "Where is my invoice?"},
		{"nobody answers", "open", []record.Message{user("Where is my invoice?"), bot, pressed(person)}, "Where is my invoice?"},
		{"pressed before the question", "open", []record.Message{bot, pressed("Talk to a person about billing problems"), agent("Hello, how can I help?"), user("Invoice 4711?"), agent("Let me look.")}, "Invoice 4711?"},
		{"pressed behind a greeting", "open", []record.Message{user("Hi"), bot, pressed("Track my order"), agent("Which order is it?")}, "Track my order"},
		{"nothing but what was pressed", "open", []record.Message{bot, pressed("Track my broken order"), agent("Which order is it?")}, "Track my broken order"},
		{"several were pressed", "closed", []record.Message{user("Where is my invoice?"), bot, pressed("Something else is broken?"), bot, pressed(person), agent("I have sent the invoice to you by e-mail.")}, "Where is my invoice?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := conversation(c.messages...)
			row.Distill.State = c.state
			rows := process(t, Config{Org: record.UUID{1}}, row).Items[0].Knowledge
			problem := ""
			for _, r := range rows {
				checkQuotes(t, row, r)
				if r.Title != c.want {
					t.Errorf("%s has the title %q, want %q", r.Kind, r.Title, c.want)
				}
				switch r.Kind {
				case record.KnowledgeProblem:
					problem = r.Content
				case record.KnowledgeOpenIssue, record.KnowledgeSummary, record.KnowledgeQA:
					if !strings.Contains(c.want, "order") && (strings.Contains(r.Content, "person") || strings.Contains(r.Content, "Something else")) {
						t.Errorf("%s is %q", r.Kind, r.Content)
					}
				}
			}
			if problem != c.want {
				t.Errorf("the problem is %q, want %q", problem, c.want)
			}
		})
	}
}
