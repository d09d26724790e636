package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// phrases that customers and agents say, in no order that makes sense: what a record may hold must not depend on that.
var (
	customerSays = []string{
		"My lamp L-300 does not light since Monday.", "How do I reset it?", "I bought it on 3 March for €49.90, order 88-1204-C.",
		"It still does not work, I already tried that.", "That worked, thank you so much!", "This is the worst service I have ever seen.",
		"Danke, das hat geklappt!", "Wo finde ich die Rechnung 2026-4471?", "La lampe ne s'allume plus depuis hier.", "Valo ei syty vieläkään.",
		"ランプがつきません。", "No, it is not.", "Thanks", "I can log in now.", "You told me that already?!", "😡😡", "See https://example.com/a?b=1",
	}
	agentSays = []string{
		"Please unplug the lamp for 10 seconds and plug it in again.", "Have you tried another socket?", "Which version do you have? You'll see this in Settings > About.",
		"Please send us a direct message with your order number.", "We will get back to you as soon as we can.", "I have refunded €49.90 to your card.",
		"Sorry to hear that!", "Bitte setzen Sie die Lampe zurück.", "Veuillez redémarrer la lampe.", "The lamp needs 230 volts.", "I'll pass this on to our team.",
		"Kokeile kytkeä virta pois.", "Let us know how it goes! /BE", "Rest assured, a colleague is looking into it. 1/2", "of them with a lamp. 2/2",
	}
)

// planted is a conversation and what is said in it: secrets may be nowhere, marks only in what quotes their message.
type planted struct {
	row     *record.TranscriptRow
	secrets []string
	marks   map[string]string // message id to a word that only this message has
}

func drawPlanted(t *rapid.T, label string) planted {
	p := planted{marks: map[string]string{}}
	said := func(list []string) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(list), 1, 4).Draw(t, label+" says"), rapid.SampledFrom([]string{" ", "\n", "\n\n"}).Draw(t, "between"))
	}
	secret := func() string {
		s := fmt.Sprintf("kanari%szz%d", label, len(p.secrets))
		p.secrets = append(p.secrets, s)
		return s
	}
	var messages []record.Message
	for i := range rapid.IntRange(1, 10).Draw(t, label+" messages") {
		mark := fmt.Sprintf("merkki%sxx%d", label, i)
		var m record.Message
		switch kind := rapid.SampledFrom([]string{"user", "user", "user", "agent", "agent", "agent", "note", "redacted", "bot", "other", "assignment", "quoting", "pressed"}).Draw(t, "kind"); kind {
		case "user":
			m = user(said(customerSays) + " " + mark)
		case "agent":
			m = agent(said(agentSays) + " " + mark)
		case "pressed":
			m = pressed("Talk to a person about " + mark)
		case "quoting":
			m = user(said(customerSays) + " " + mark + "\n\nOn 2 March 2026 at 10:00, Bea wrote:\n> " + secret() + "\n> " + said(agentSays))
		case "note":
			m = agent(said(agentSays) + " " + secret())
			m.Kind = record.MessageNote
		case "assignment":
			m = agent(said(agentSays) + " " + secret())
			m.Kind = "assignment"
		case "bot":
			m = record.Message{Speaker: record.SpeakerBot, Text: said(agentSays) + " " + secret()}
		case "other":
			m = user(said(customerSays) + " " + secret())
			m.AuthorID = "someone"
		case "redacted":
			m = user(said(customerSays) + " " + secret())
			m.Redacted = true
		}
		m.ID = fmt.Sprintf("%s%d", label, i)
		if strings.Contains(m.Text, mark) {
			p.marks[m.ID] = mark
		}
		messages = append(messages, m)
	}
	p.row = conversation(messages...)
	p.row.SourceID = label
	p.row.Distill.State = rapid.SampledFrom([]string{"open", "closed", "snoozed"}).Draw(t, "state")
	p.row.Distill.RatingScore = rapid.IntRange(0, 5).Draw(t, "rating")
	return p
}

func everything(r *record.KnowledgeRow) string {
	return r.Key + r.Title + r.Content + string(r.Metadata) + strings.Join(r.SourceMessageIDs, " ")
}

// check holds the rows of a conversation to what it may tell.
func (p *planted) check(t *rapid.T, rows []record.KnowledgeRow, others ...planted) {
	for i := range rows {
		r := &rows[i]
		all := everything(r)
		for _, s := range p.secrets {
			if strings.Contains(all, s) {
				t.Fatalf("%s tells %q: %s", r.Kind, s, all)
			}
		}
		for _, o := range others {
			for _, s := range append(slices.Collect(maps.Values(o.marks)), o.secrets...) {
				if strings.Contains(all, s) {
					t.Fatalf("%s of %s tells %q of %s", r.Kind, p.row.SourceID, s, o.row.SourceID)
				}
			}
		}
		if len(r.SourceMessageIDs) == 0 {
			t.Fatalf("%s cites no message: %s", r.Kind, all)
		}
		for _, id := range r.SourceMessageIDs {
			if p.marks[id] == "" {
				t.Fatalf("%s cites message %s, which is not the customer's to see", r.Kind, id)
			}
		}
		for id, mark := range p.marks {
			if strings.Contains(r.Content, mark) && !slices.Contains(r.SourceMessageIDs, id) {
				t.Fatalf("%s has words of message %s, which it does not cite: %s", r.Kind, id, all)
			}
		}
		checkQuotes(t, p.row, *r)
	}
}

func TestNothingIsUncitedLeakedOrAnothersInRandomConversations(t *testing.T) {
	stage := New(Config{Org: record.UUID{1}})
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawPlanted(t, "a"), drawPlanted(t, "b")
		in := []record.Change{{Transcript: a.row}, {Transcript: b.row}, {Transcript: a.row}}
		if _, err := stage.Process(context.Background(), in); err != nil {
			t.Fatal(err)
		}
		a.check(t, in[0].Knowledge, b)
		b.check(t, in[1].Knowledge, a)
		if diff := cmp.Diff(in[0].Knowledge, in[2].Knowledge); diff != "" {
			t.Fatalf("the same conversation gives other rows behind another one: %s", diff)
		}
		kinds := map[string]int{}
		for _, r := range in[0].Knowledge {
			kinds[r.Kind]++
		}
		if kinds[record.KnowledgeResolution]+kinds[record.KnowledgeOpenIssue] > 1 {
			t.Fatalf("solved and open: %v", kinds)
		}
	})
}

func TestWhatIsRedactedIsWithdrawnAsIfItHadNeverBeenSaid(t *testing.T) {
	stage := New(Config{Org: record.UUID{1}})
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlanted(t, "a")
		if len(p.row.Messages) < 2 {
			return
		}
		at := rapid.IntRange(1, len(p.row.Messages)-1).Draw(t, "redacted") // the opening message takes its subject along
		redacted, without := *p.row, *p.row
		redacted.Messages, without.Messages = slices.Clone(p.row.Messages), slices.Clone(p.row.Messages)
		redacted.Messages[at].Redacted = true
		without.Messages = slices.Delete(without.Messages, at, at+1)
		in := []record.Change{{Transcript: p.row}, {Transcript: &redacted}, {Transcript: &without}}
		if _, err := stage.Process(context.Background(), in); err != nil {
			t.Fatal(err)
		}
		id := p.row.Messages[at].ID
		for _, r := range in[1].Knowledge {
			if slices.Contains(r.SourceMessageIDs, id) || p.marks[id] != "" && strings.Contains(everything(&r), p.marks[id]) {
				t.Fatalf("%s still has words of the redacted message: %s", r.Kind, everything(&r))
			}
		}
		if diff := cmp.Diff(in[2].Knowledge, in[1].Knowledge); diff != "" {
			t.Fatalf("a trace is left of the redacted message: %s", diff)
		}
	})
}

func TestOrderAndConcurrencyChangeNoByte(t *testing.T) {
	var all []planted
	random := rapid.Custom(func(t *rapid.T) planted { return drawPlanted(t, rapid.StringMatching("[a-f]{6}").Draw(t, "label")) })
	for i := range 60 {
		all = append(all, random.Example(i))
	}
	want := make([][]byte, len(all))
	for i := range all { // each alone, by a stage of its own
		in := []record.Change{{Transcript: all[i].row}}
		if _, err := New(Config{}).Process(context.Background(), in); err != nil {
			t.Fatal(err)
		}
		want[i] = encoded(t, in[0].Knowledge)
	}
	stage := New(Config{})
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			for k := range all { // each worker in another order, in batches of other sizes
				i := (k*(2*worker+1) + 7*worker) % len(all)
				j := (i + worker) % len(all)
				a, b := *all[i].row, *all[j].row
				in := []record.Change{{Transcript: &a}, {Transcript: &b}}
				if _, err := stage.Process(context.Background(), in); err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(encoded(t, in[0].Knowledge), want[i]) || !bytes.Equal(encoded(t, in[1].Knowledge), want[j]) {
					t.Errorf("worker %d: conversation %d or %d has other rows than alone", worker, i, j)
					return
				}
			}
		})
	}
	wg.Wait()
}

func encoded(t testing.TB, rows []record.KnowledgeRow) []byte {
	b, err := json.Marshal(rows)
	if err != nil {
		t.Error(err)
	}
	return b
}
