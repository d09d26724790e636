package distill

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rivo/uniseg"

	"haloingest/pipeline/record"
)

// benchConversation has 8 messages and about 2,200 characters, as support conversations have.
func benchConversation() *record.TranscriptRow {
	filler := strings.Repeat("The list of exports stays empty whatever range of dates I choose, and the log says nothing useful about it. ", 2)
	return conversation(
		user("Hello, since the update to version 3.4.1 I cannot export invoices as PDF any more. "+filler+"How do I get the export back?"),
		agent("Hi Ann, sorry to hear that! Which browser are you using, and does it happen for every invoice? /BE"),
		user("Firefox 128 on Windows 11. It happens for all 214 invoices of order 88-1204-C. "+filler),
		agent("Thanks for the details. Please open Settings > Billing, choose Legacy export and press Save. "+filler+"After that the button is back."),
		user("I did, but the button is still not there. See https://example.com/shot.png for what I get."),
		agent("We have found the reason: the new role of your account lacks the right to export. "+filler+"I have changed it for you, so please log out and log in again."),
		user("That worked, thank you so much! Will it stay like that after the next update?"),
		agent("You are welcome! Yes, the fix will be part of version 3.4.2, which we roll out within 5 business days. Have a great day! /BE"),
	)
}

// BenchmarkProcess is the whole stage over one conversation, in turn with a plain split of the same text
// into sentences by the Unicode rules, which is the least that any distiller has to do. The metric
// "x-plain-split" is the ratio of the two times; it does not depend on the machine much.
func BenchmarkProcess(b *testing.B) {
	s := New(Config{})
	in := []record.Change{{Kind: record.KindConversation, Transcript: benchConversation()}}
	b.ReportAllocs()
	var distilling, splitting time.Duration
	n := 0
	for b.Loop() {
		begin := time.Now()
		if _, err := s.Process(context.Background(), in); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		splitPlainly(in[0].Transcript)
		distilling += middle.Sub(begin)
		splitting += time.Since(middle)
		n++
	}
	b.ReportMetric(float64(n)/distilling.Seconds(), "conversations/s")
	b.ReportMetric(float64(distilling)/float64(splitting), "x-plain-split")
}

func splitPlainly(t *record.TranscriptRow) (sentences int) {
	for i := range t.Messages {
		rest, state := t.Messages[i].Text, -1
		for rest != "" {
			_, rest, state = uniseg.FirstSentenceInString(rest, state)
			sentences++
		}
	}
	return sentences
}
