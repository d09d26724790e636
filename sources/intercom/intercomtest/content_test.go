package intercomtest

import (
	"encoding/json"
	"testing"
)

// transcript is the shape in which a reader would keep a message; it is here to
// weigh a conversation.
type transcript struct {
	ID, Speaker, Text, HTML, At, AuthorID, AuthorName, Kind string
	Attachments                                             []string
}

func TestAConversationHasAboutEightMessagesAndFourAndAHalfKilobytes(t *testing.T) {
	w, err := New(Options{Seed: 1, Conversations: 4000})
	if err != nil {
		t.Fatal(err)
	}
	var messages, bytes, notes, quoted, files, redacted, bodiesOnEvents int
	types := map[string]int{}
	n := 0
	for i := range 4000 {
		c := w.conversation(i)
		n++
		row := []transcript{{ID: c.sourceID, Text: c.body.plain, HTML: c.body.html, At: "2025-01-01T00:00:00Z", AuthorID: c.author.id, AuthorName: c.author.name, Kind: "message", Speaker: "user"}}
		for _, p := range c.parts {
			types[p.typ]++
			if p.body.null {
				continue
			}
			switch p.typ {
			case "note":
				notes++
			case "assignment", "open", "close":
				bodiesOnEvents++
			}
			if p.body.quoted != "" {
				quoted++
			}
			if p.redacted {
				redacted++
			}
			files += len(p.files)
			row = append(row, transcript{ID: decimal(p.id), Text: p.body.plain, HTML: p.body.html, At: "2025-01-01T00:00:00Z", AuthorID: p.author.id, AuthorName: p.author.name, Kind: "message", Speaker: "user"})
		}
		messages += len(row)
		b, _ := json.Marshal(row)
		bytes += len(b) + 500 // the other columns
	}
	mean, size := float64(messages)/float64(n), bytes/n
	t.Logf("%.2f messages, %d bytes, %d notes, %d quotes, %d files, %d redacted, %d bodies on events, types %v", mean, size, notes, quoted, files, redacted, bodiesOnEvents, types)
	if mean < 7.5 || mean > 8.7 {
		t.Errorf("%.2f messages per conversation, want about 8", mean)
	}
	if size < 4000 || size > 5000 {
		t.Errorf("%d bytes per conversation, want about 4500", size)
	}
	for what, k := range map[string]int{"notes": notes, "quoted replies": quoted, "attachments": files, "redacted parts": redacted, "bodies on assignment, open and close": bodiesOnEvents} {
		if k < 10 {
			t.Errorf("only %d %s in %d conversations", k, what, n)
		}
	}
	if len(types) < 20 {
		t.Errorf("only %d types of part: %v", len(types), types)
	}
}
