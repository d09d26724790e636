package distill

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

var _ pipeline.Stage[record.Change, record.Change] = (*Stage)(nil)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// conversation makes a closed transcript of a customer with the id c1.
func conversation(messages ...record.Message) *record.TranscriptRow {
	for i := range messages {
		m := &messages[i]
		if m.ID == "" {
			m.ID = string(rune('a' + i))
		}
		if m.Kind == "" {
			m.Kind = "comment"
			if i == 0 {
				m.Kind = record.MessageSource
			}
		}
		m.At = start.Add(time.Duration(i) * time.Minute)
	}
	return &record.TranscriptRow{
		Head:      record.Head{SourceID: "42", SourceUpdatedAt: start},
		ContactID: "c1", Messages: messages, StartedAt: start,
		Distill: record.DistillInput{CustomerName: "Ann Example", CustomerEmail: "ann@example.com", CompanyName: "Acme", State: "closed"},
	}
}

func user(text string) record.Message {
	return record.Message{Speaker: record.SpeakerUser, Text: text, AuthorID: "c1"}
}

func agent(text string) record.Message {
	return record.Message{Speaker: record.SpeakerAgent, Text: text, AuthorID: "7", AuthorName: "Bea"}
}

func pressed(text string) record.Message {
	m := user(text)
	m.Kind = "quick_reply"
	return m
}

func process(t testing.TB, cfg Config, rows ...*record.TranscriptRow) pipeline.Result[record.Change] {
	t.Helper()
	var in []record.Change
	for _, r := range rows {
		in = append(in, record.Change{Kind: record.KindConversation, SourceID: r.SourceID, Transcript: r})
	}
	res, err := New(cfg).Process(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// contents are the kinds and texts of the distilled layer.
func contents(rows []record.KnowledgeRow) (out []string) {
	for _, r := range rows {
		if r.Kind != record.KnowledgeParent && r.Kind != record.KnowledgeChild {
			out = append(out, r.Kind+": "+r.Content)
		}
	}
	return out
}

func kinds(rows []record.KnowledgeRow) (out []string) {
	for _, r := range rows {
		out = append(out, r.Kind)
	}
	return out
}

func TestKnowledgeRowsCarryWhatTheSinkNeeds(t *testing.T) {
	org := record.UUID{1}
	row := conversation(user("My printer model 8600 does not print. How can I fix it?"), agent("Please restart the printer and install driver 2.1."))
	row.Subject = "Printer"
	res := process(t, Config{Org: org}, row)
	rows := res.Items[0].Knowledge
	want := []string{"parent", "child", "summary", "problem", "resolution", "qa"}
	if diff := cmp.Diff(want, kinds(rows)); diff != "" {
		t.Fatal(diff)
	}
	for _, r := range rows {
		if r.Org != org || r.SourceID != "42" || !r.SourceUpdatedAt.Equal(start) || r.Title != "Printer" || r.Hash == (record.Digest{}) {
			t.Errorf("row lacks a value: %+v", r)
		}
		if r.ID != record.KnowledgeID(org, r.Key, r.Kind, r.ChunkIndex) {
			t.Errorf("%s has the id of another row", r.Kind)
		}
		wantPrefix := "intercom:conversation:42"
		if r.Kind != "parent" && r.Kind != "child" {
			wantPrefix = "distilled:intercom:conversation:42:" + r.Kind + ":"
		}
		if !strings.HasPrefix(r.Key, wantPrefix) {
			t.Errorf("%s has the key %q", r.Kind, r.Key)
		}
		canonical, err := record.CanonicalJSON(r.Metadata)
		if err != nil || string(canonical) != string(r.Metadata) {
			t.Errorf("metadata %s is not canonical (%s, %v)", r.Metadata, canonical, err)
		}
	}
	if rows[1].ParentID != rows[0].ID {
		t.Error("the child does not name its parent")
	}
	header := "Customer: Ann Example <ann@example.com>\nCompany: Acme\nSubject: Printer\nDate: 2026-03-02\n\n"
	if !strings.HasPrefix(rows[0].Content, header) {
		t.Errorf("parent begins with %q", rows[0].Content)
	}
	if diff := cmp.Diff([]string{"a", "b"}, rows[0].SourceMessageIDs); diff != "" {
		t.Error(diff)
	}
	var e record.Encoder
	if got := res.Items[0].Transcript.KnowledgeHash; got != record.KnowledgeHash(&e, rows) {
		t.Error("the transcript's knowledge hash is not over its rows")
	}
}

func TestOtherKindsPassThrough(t *testing.T) {
	in := []record.Change{
		{Kind: record.KindContact, EndUser: &record.EndUserRow{Name: "Ann"}},
		{Kind: record.KindConversation, Gone: &record.Tombstone{Why: record.GoneDeleted}},
	}
	res, err := New(Config{}).Process(context.Background(), slices.Clone(in))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, res.Items); diff != "" || len(res.Counts) != 0 {
		t.Error(diff, res.Counts)
	}
}

func TestWhatMayNotBeKnowledgeIsNotThere(t *testing.T) {
	note := func(kind string) record.Message {
		m := agent("secret in a note: the account is a fraud")
		m.Kind = kind
		return m
	}
	with := func(m record.Message, f func(*record.Message)) record.Message { f(&m); return m }
	ok := user("My printer does not print since Monday.")
	for _, c := range []struct {
		name string
		row  *record.TranscriptRow
	}{
		{"a note", conversation(ok, note(record.MessageNote))},
		{"a note of a kind that extraction did not rename", conversation(ok, note("note_and_reopen"))},
		{"an assignment with a text", conversation(ok, note("assignment"))},
		{"an assignment that opens", conversation(ok, note("assign_and_reopen"))},
		{"a part type of agents that nobody knows", conversation(ok, note("internal_whisper"))},
		{"a redacted message whose text came all the same", conversation(ok, with(agent("secret"), func(m *record.Message) { m.Redacted = true }))},
		{"a redacted opening message, with its subject", func() *record.TranscriptRow {
			r := conversation(with(user("secret"), func(m *record.Message) { m.Redacted = true }), ok)
			r.Subject = "secret subject"
			return r
		}()},
		{"a bot", conversation(ok, with(agent("secret"), func(m *record.Message) { m.Speaker = record.SpeakerBot }))},
		{"a bot's opening message, with its subject", func() *record.TranscriptRow {
			r := conversation(with(agent("secret"), func(m *record.Message) { m.Speaker = record.SpeakerBot }), ok)
			r.Subject = "secret offer"
			return r
		}()},
		{"a system part", conversation(ok, with(agent("secret"), func(m *record.Message) { m.Speaker = record.SpeakerSystem }))},
		{"another contact's words", conversation(ok, with(user("secret"), func(m *record.Message) { m.AuthorID = "c2" }))},
		{"a note that a reply quotes", conversation(ok, agent("Please restart it.\n\nOn 2 March 2026 at 10:00, Bea wrote:\n> secret"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows := process(t, Config{}, c.row).Items[0].Knowledge
			if len(rows) == 0 {
				t.Fatal("no knowledge at all")
			}
			for _, r := range rows {
				if all := r.Title + r.Content + string(r.Metadata); strings.Contains(all, "secret") {
					t.Errorf("%s tells it: %s", r.Kind, all)
				}
			}
		})
	}
}

func TestConversationsWithoutKnowledge(t *testing.T) {
	text := user("My printer does not print.")
	for _, c := range []struct {
		name  string
		row   *record.TranscriptRow
		rules Rules
		count string
	}{
		{"no contact", func() *record.TranscriptRow { r := conversation(text); r.ContactID = ""; return r }(), Rules{}, "distill/no_contact"},
		{"no text", conversation(user("")), Rules{}, "distill/no_text"},
		{"a keyword in another case", conversation(text), Rules{Keywords: []string{"PRINTer"}}, "distill/skipped_by_keyword"},
		{"a keyword in another form of the same letters", conversation(user("Die Straße nach Küche")), Rules{Keywords: []string{"STRASSE NACH KÜCHE"}}, "distill/skipped_by_keyword"},
		{"a keyword in a note", conversation(text, record.Message{Speaker: record.SpeakerAgent, Kind: record.MessageNote, Text: "legal hold"}), Rules{Keywords: []string{"legal  hold"}}, "distill/skipped_by_keyword"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := process(t, Config{Rules: c.rules}, c.row)
			if rows := res.Items[0].Knowledge; rows == nil || len(rows) != 0 {
				t.Errorf("got %d rows (nil: %v), want none", len(rows), rows == nil)
			}
			if res.Counts[c.count] != 1 {
				t.Errorf("counts are %v", res.Counts)
			}
			if res.Items[0].Transcript.KnowledgeHash == (record.Digest{}) {
				t.Error("no knowledge must have a hash too")
			}
		})
	}
}

func TestTopicRulesDecideWhatIsDistilled(t *testing.T) {
	for _, c := range []struct {
		name   string
		topics []string
		want   bool
	}{
		{"no rule lets all through", nil, true},
		{"a topic in another ending", []string{"printing problems", "shipping"}, true},
		{"half of a topic's words are enough", []string{"printer toner"}, true},
		{"no topic matches", []string{"invoices and refunds", "shipping"}, false},
		{"a topic of stop words matches nothing and forbids nothing", []string{"the of"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows := process(t, Config{Rules: Rules{Topics: c.topics}}, conversation(user("My printer is printing blank pages."))).Items[0].Knowledge
			if got := len(contents(rows)) > 0; got != c.want {
				t.Errorf("distilled: %v, want %v", got, c.want)
			}
			if len(rows) < 2 {
				t.Error("the raw layer is gone")
			}
		})
	}
}

// odd is a distiller that does what it is told.
type odd struct {
	distill func(*Conversation) ([]Item, error)
}

func (odd) Name() string { return "odd/1" }

func (o odd) Distill(_ context.Context, c *Conversation) ([]Item, error) { return o.distill(c) }

func TestADistillerThatFailsLeavesTheRawLayer(t *testing.T) {
	for name, f := range map[string]func(*Conversation) ([]Item, error){
		"with an error": func(*Conversation) ([]Item, error) { return nil, errors.New("no model") },
		"with a panic":  func(*Conversation) ([]Item, error) { panic("no model") },
	} {
		t.Run(name, func(t *testing.T) {
			second := conversation(user("The second one is fine."))
			calls := 0
			d := odd{func(c *Conversation) ([]Item, error) {
				if calls++; calls == 1 {
					return f(c)
				}
				return new(Offline).Distill(context.Background(), c)
			}}
			res := process(t, Config{Distiller: d}, conversation(user("My printer does not print.")), second)
			if diff := cmp.Diff([]string{"parent", "child"}, kinds(res.Items[0].Knowledge)); diff != "" {
				t.Error(diff)
			}
			if len(contents(res.Items[1].Knowledge)) == 0 {
				t.Error("the next conversation has nothing distilled")
			}
			if res.Counts["distill/failed"] != 1 || len(res.Items) != 2 {
				t.Errorf("counts are %v for %d items", res.Counts, len(res.Items))
			}
		})
	}
}

func TestItemsThatDoNotCiteAreDropped(t *testing.T) {
	text := "My printer…\n\nOn 2 March 2026 at 10:00, Bea wrote:\n> quoted words"
	for _, c := range []struct {
		name string
		item Item
	}{
		{"no quote", Item{Kind: "fact", Text: "It prints."}},
		{"no text", Item{Kind: "fact", Quotes: []Quote{{0, 0, 2}}}},
		{"a kind of the raw layer", Item{Kind: "parent", Text: "x", Quotes: []Quote{{0, 0, 2}}}},
		{"a turn that is not there", Item{Kind: "fact", Text: "x", Quotes: []Quote{{2, 0, 2}}}},
		{"behind the end", Item{Kind: "fact", Text: "x", Quotes: []Quote{{0, 0, 9999}}}},
		{"empty range", Item{Kind: "fact", Text: "x", Quotes: []Quote{{0, 2, 2}}}},
		{"inside a rune", Item{Kind: "fact", Text: "x", Quotes: []Quote{{0, 0, len("My printer") + 1}}}},
		{"a part of what the author quotes", Item{Kind: "fact", Text: "x", Quotes: []Quote{{1, 2, len("> quoted\nown")}}}},
		{"what the author only quotes", Item{Kind: "fact", Text: "x", Quotes: []Quote{{0, strings.Index(text, "quoted"), len(text)}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := odd{func(*Conversation) ([]Item, error) {
				return []Item{c.item, {Kind: "fact", Text: "printer", Quotes: []Quote{{0, 3, 10}}}}, nil
			}}
			res := process(t, Config{Distiller: d}, conversation(user(text), user("> quoted\nown")))
			if diff := cmp.Diff([]string{"fact: printer"}, contents(res.Items[0].Knowledge)); diff != "" {
				t.Error(diff)
			}
			if res.Counts["distill/ungrounded"] != 1 {
				t.Error(res.Counts)
			}
		})
	}
}

func TestQuotesAreShownInPlace(t *testing.T) {
	row := conversation(user("Grüße 👩‍👩‍👧! Die Rechnung 4711 fehlt. Wo finde ich sie?"), agent("Hallo Ann, bitte öffnen Sie die Einstellungen."))
	n := 0
	for _, r := range process(t, Config{}, row).Items[0].Knowledge {
		n += checkQuotes(t, row, r)
	}
	if n < 4 {
		t.Errorf("only %d quotes", n)
	}
}

// checkQuotes checks a distilled row's quotes against the messages and returns how many there are.
func checkQuotes(t interface {
	Helper()
	Errorf(string, ...any)
}, row *record.TranscriptRow, r record.KnowledgeRow) int {
	t.Helper()
	if r.Kind == record.KnowledgeParent || r.Kind == record.KnowledgeChild {
		return 0
	}
	var meta struct {
		Quotes []struct {
			ID    string `json:"message_id"`
			Start int    `json:"start"`
			End   int    `json:"end"`
			Text  string `json:"text"`
		} `json:"quotes"`
	}
	if err := json.Unmarshal(r.Metadata, &meta); err != nil {
		t.Errorf("metadata: %v", err)
	}
	if len(meta.Quotes) == 0 {
		t.Errorf("%s cites nothing", r.Kind)
	}
	for _, q := range meta.Quotes {
		i := slices.IndexFunc(row.Messages, func(m record.Message) bool { return m.ID == q.ID })
		if i < 0 || !slices.Contains(r.SourceMessageIDs, q.ID) {
			t.Errorf("%s cites message %q; its sources are %q", r.Kind, q.ID, r.SourceMessageIDs)
			continue
		}
		text := []rune(record.CleanText(row.Messages[i].Text))
		if q.Start < 0 || q.End > len(text) || q.Start >= q.End || string(text[q.Start:q.End]) != q.Text {
			t.Errorf("%s: %q is not at %d:%d of %q", r.Kind, q.Text, q.Start, q.End, string(text))
		}
		for _, word := range strings.Fields(q.Text) {
			if !strings.Contains(r.Content, word) {
				t.Errorf("%s quotes %q, which its content %q does not say", r.Kind, q.Text, r.Content)
			}
		}
	}
	return len(meta.Quotes)
}

func TestSameConversationsGiveTheSameRowsFromAnyGoroutine(t *testing.T) {
	s := New(Config{})
	make2 := func() []record.Change {
		return []record.Change{
			{Transcript: benchConversation()},
			{Transcript: conversation(user("Mein Drucker druckt nicht."), agent("Bitte starten Sie ihn neu."), user("Danke, das hat geklappt!"))},
		}
	}
	want, err := s.Process(context.Background(), make2())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				got, err := s.Process(context.Background(), make2())
				if err != nil {
					t.Error(err)
					return
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestACancelledRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := New(Config{}).Process(ctx, []record.Change{{Transcript: conversation(user("Hello printer."))}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAnAuthorWithTheCustomersAddressIsTheCustomer(t *testing.T) {
	m := user("My printer does not print.")
	m.AuthorID, m.AuthorEmail = "lead9", " Ann@Example.com"
	res := process(t, Config{}, conversation(m))
	if len(res.Items[0].Knowledge) == 0 || res.Counts["distill/messages_of_others"] != 0 {
		t.Errorf("the lead's words are lost: %v", res.Counts)
	}
}
