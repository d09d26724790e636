package distill

import (
	"strings"
	"time"

	"haloingest/pipeline/record"
)

// Conversation is what a Distiller may read: the messages of one conversation that may become
// knowledge, and nothing else. Notes, redacted messages, bots' messages and what other contacts than
// the customer wrote are not in it.
type Conversation struct {
	ID           string
	Subject      string // "" where the opening message may not be read
	State        string
	Rating       int      // 0 if not rated
	Customer     string   // the customer's name, may be empty
	Instructions []string // the organisation's instruction rules, for a model to follow
	Turns        []Turn   // oldest first
}

// Turn is one message.
type Turn struct {
	MessageID string
	Speaker   string // record.SpeakerUser or record.SpeakerAgent
	Name      string // the author's, may be empty
	At        time.Time
	Text      string // the message's text, whole: quotes are ranges of it
	Chosen    bool   // the customer's, one of the answers that a bot offered, perhaps pressed as a button
	Parts     []Span // what of Text its author wrote: no quoted replies, no signature
	Sentences []Span // the sentences of Parts, without outer white space
}

// customer knows whose words a conversation's knowledge may hold.
type customer struct{ id, email string }

// wrote reports whether the customer is the author of a message by a user. An author without an id
// is taken for the customer; one with another id is, where the e-mail address is the same (a lead who
// became a user).
func (c customer) wrote(m *record.Message) bool {
	if m.AuthorID == "" || m.AuthorID == c.id {
		return true
	}
	return c.email != "" && record.EmailKey(m.AuthorEmail) == c.email
}

// readConversation fills c from a transcript; spans is an arena for the turns' ranges. It counts the
// messages by others than the customer that it left out.
func readConversation(c *Conversation, t *record.TranscriptRow, spans []Span) (_ []Span, others int) {
	*c = Conversation{
		ID: t.SourceID, State: t.Distill.State, Rating: t.Distill.RatingScore,
		Customer: t.Distill.CustomerName,
		Turns:    c.Turns[:0],
	}
	who := customer{t.ContactID, record.EmailKey(t.Distill.CustomerEmail)}
	c.Subject = strings.Join(strings.Fields(record.CleanText(t.Subject)), " ")
	for i := range t.Messages {
		m := &t.Messages[i]
		if m.Kind == record.MessageSource && !(speaks(m) && (m.Speaker != record.SpeakerUser || who.wrote(m))) {
			c.Subject = "" // it would repeat what may not be told
		}
		if !speaks(m) || m.Text == "" {
			continue
		}
		if m.Speaker == record.SpeakerUser && !who.wrote(m) {
			others++
			continue
		}
		turn := Turn{MessageID: m.ID, Speaker: m.Speaker, Name: m.AuthorName, At: m.At, Text: record.CleanText(m.Text), Chosen: chosen(m)}
		mark := len(spans)
		spans = appendClean(spans, turn.Text, len(c.Turns) == 0 && (m.Kind == record.MessageSource || i == 0))
		if mark == len(spans) {
			continue
		}
		turn.Parts = spans[mark:len(spans):len(spans)]
		mark = len(spans)
		for _, p := range turn.Parts {
			spans = appendSentences(spans, turn.Text, p.Start, p.End)
		}
		turn.Sentences = spans[mark:len(spans):len(spans)]
		c.Turns = append(c.Turns, turn)
	}
	return spans, others
}

// chosen reports whether a message is the customer's choice of an offered answer. Those say little of what
// the customer wants to know ("Talk to a person"), in words that are not the customer's.
func chosen(m *record.Message) bool {
	return m.Speaker == record.SpeakerUser && (m.Chosen || m.Kind == "quick_reply")
}

// speaks reports whether a message may become knowledge at all, whoever its author is. Of what agents
// write only the part types that reach the customer are taken, so that an internal part type that
// Intercom adds later stays out; the bodies of assignments are read by teammates.
func speaks(m *record.Message) bool {
	if m.Redacted || strings.HasPrefix(m.Kind, record.MessageNote) || strings.Contains(m.Kind, "assign") {
		return false
	}
	switch m.Speaker {
	case record.SpeakerUser:
		return true
	case record.SpeakerAgent:
		switch m.Kind {
		case "", record.MessageSource, "comment", "quick_reply", "open", "close":
			return true
		}
	}
	return false
}
