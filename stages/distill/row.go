package distill

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"haloingest/pipeline/record"
)

// Keys under which Halo finds the two layers (halo.md, 1.2 and 7.6).
const (
	rawPrefix       = "intercom:conversation:"
	distilledPrefix = "distilled:intercom:conversation:"
)

// Widths of texts that are cut for a title or header, in characters.
const (
	titleWidth   = 80
	nameWidth    = 100
	subjectWidth = 200
)

// rowMaker makes the knowledge rows of one conversation.
type rowMaker struct {
	org   record.UUID
	t     *record.TranscriptRow
	c     *Conversation
	title string
	rows  []record.KnowledgeRow
}

func (m *rowMaker) add(row record.KnowledgeRow) {
	row.Org = m.org
	row.ID = record.KnowledgeID(m.org, row.Key, row.Kind, row.ChunkIndex)
	row.Title = m.title
	row.SourceID = m.t.SourceID
	row.SourceUpdatedAt = m.t.SourceUpdatedAt
	m.rows = append(m.rows, row)
}

// raw adds the parents, each followed by its children. Both are numbered through the conversation.
func (m *rowMaker) raw(chunks []chunk) {
	key := rawPrefix + m.c.ID
	children := 0
	for i, ck := range chunks {
		parent := record.KnowledgeRow{
			Key: key, Kind: record.KnowledgeParent, ChunkIndex: i, Content: ck.text,
			SourceMessageIDs: m.messages(ck.turns, 0, len(ck.text)),
		}
		parent.Metadata = m.rawMetadata(ck.turns, 0, len(ck.text))
		m.add(parent)
		parentID := m.rows[len(m.rows)-1].ID
		for _, ch := range ck.children {
			m.add(record.KnowledgeRow{
				Key: key, Kind: record.KnowledgeChild, ChunkIndex: children, ParentID: parentID,
				Content:          ck.text[ch.start:ch.end],
				SourceMessageIDs: m.messages(ck.turns, ch.start, ch.end),
				Metadata:         m.rawMetadata(ck.turns, ch.start, ch.end),
			})
			children++
		}
	}
}

// messages returns the ids of the messages that have text in a part of a chunk.
func (m *rowMaker) messages(turns []turnRange, start, end int) []string {
	ids := make([]string, 0, len(turns))
	for _, r := range turns {
		if r.start < end && r.end > start {
			ids = appendID(ids, m.c.Turns[r.turn].MessageID)
		}
	}
	return ids
}

func appendID(ids []string, id string) []string {
	if id == "" || slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}

func (m *rowMaker) rawMetadata(turns []turnRange, start, end int) json.RawMessage {
	agent, user := false, false
	for _, r := range turns {
		if r.start < end && r.end > start {
			agent = agent || m.c.Turns[r.turn].Speaker == record.SpeakerAgent
			user = user || m.c.Turns[r.turn].Speaker == record.SpeakerUser
		}
	}
	switch {
	case agent && user:
		return json.RawMessage(`{"source":"intercom","speakers":["agent","user"]}`)
	case agent:
		return json.RawMessage(`{"source":"intercom","speakers":["agent"]}`)
	case user:
		return json.RawMessage(`{"source":"intercom","speakers":["user"]}`)
	}
	return json.RawMessage(`{"source":"intercom","speakers":[]}`)
}

// distilled adds the items that cite what they say and returns how many did not.
func (m *rowMaker) distilled(items []Item, by string) (dropped int) {
	seen := make([]string, 0, len(items))
	for i := range items {
		it := &items[i]
		if !m.grounded(it) {
			dropped++
			continue
		}
		ids := make([]string, 0, len(it.Quotes))
		for _, q := range it.Quotes {
			ids = appendID(ids, m.c.Turns[q.Turn].MessageID)
		}
		key := distilledPrefix + m.c.ID + ":" + it.Kind + ":" + contentHash(it.Kind, it.Text, ids)
		if slices.Contains(seen, key) {
			continue
		}
		seen = append(seen, key)
		m.add(record.KnowledgeRow{
			Key: key, Kind: it.Kind, Content: it.Text, SourceMessageIDs: ids, Metadata: m.distilledMetadata(it, by),
		})
	}
	return dropped
}

// grounded reports whether an item is one of the kinds of the distilled layer, says something, and
// each of its quotes is a part of what the author of a turn wrote.
func (m *rowMaker) grounded(it *Item) bool {
	switch it.Kind {
	case record.KnowledgeSummary, record.KnowledgeProblem, record.KnowledgeResolution,
		record.KnowledgeQA, record.KnowledgeFact, record.KnowledgeOpenIssue:
	default:
		return false
	}
	if strings.TrimSpace(it.Text) == "" || len(it.Quotes) == 0 {
		return false
	}
	for _, q := range it.Quotes {
		if q.Turn < 0 || q.Turn >= len(m.c.Turns) {
			return false
		}
		t := &m.c.Turns[q.Turn]
		inside := slices.ContainsFunc(t.Parts, func(p Span) bool {
			return q.Start >= p.Start && q.End <= p.End && q.Start < q.End
		})
		if !inside || !utf8.RuneStart(t.Text[q.Start]) || q.End < len(t.Text) && !utf8.RuneStart(t.Text[q.End]) {
			return false
		}
	}
	return true
}

// contentHash names a distilled record by what it says and whom it cites.
func contentHash(kind, text string, ids []string) string {
	h := sha256.New()
	h.Write([]byte(kind + "\x00" + text))
	for _, id := range ids {
		h.Write([]byte("\x00" + id))
	}
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0])[:8])
}

// distilledMetadata is canonical JSON: keys in order, no white space. Offsets are characters of the
// message's text as the transcript has it, so PostgreSQL's substr(text, start+1, end-start) is the
// quote.
func (m *rowMaker) distilledMetadata(it *Item, by string) json.RawMessage {
	b := make([]byte, 0, 256+2*len(it.Text))
	b = append(b, '{')
	if it.Basis != "" {
		b = append(b, `"basis":`...)
		b = append(record.AppendString(b, it.Basis), ',')
	}
	b = append(b, `"distiller":`...)
	if it.By != "" {
		by = it.By
	}
	b = record.AppendString(b, by)
	if len(it.Evidence) > 0 {
		b = append(b, `,"evidence":[`...)
		for i, e := range it.Evidence {
			if i > 0 {
				b = append(b, ',')
			}
			b = record.AppendString(b, e)
		}
		b = append(b, ']')
	}
	if it.Fallback != "" {
		b = append(b, `,"fallback":`...)
		b = record.AppendString(b, it.Fallback)
	}
	b = append(b, `,"quotes":[`...)
	for i, q := range it.Quotes {
		t := &m.c.Turns[q.Turn]
		if i > 0 {
			b = append(b, ',')
		}
		start := utf8.RuneCountInString(t.Text[:q.Start])
		text := t.Text[q.Start:q.End]
		b = append(b, `{"end":`...)
		b = strconv.AppendInt(b, int64(start+utf8.RuneCountInString(text)), 10)
		b = append(b, `,"message_id":`...)
		b = record.AppendString(b, t.MessageID)
		b = append(b, `,"speaker":`...)
		b = record.AppendString(b, t.Speaker)
		b = append(b, `,"start":`...)
		b = strconv.AppendInt(b, int64(start), 10)
		b = append(b, `,"text":`...)
		b = record.AppendString(b, text)
		b = append(b, '}')
	}
	b = append(b, `],"source":"intercom"}`...)
	return b
}

// header is what each parent begins with, so that a chunk found alone says whose it is.
func header(c *Conversation, t *record.TranscriptRow) string {
	var b strings.Builder
	name, email := oneLine(t.Distill.CustomerName, nameWidth), oneLine(t.Distill.CustomerEmail, nameWidth)
	switch {
	case name != "" && email != "":
		b.WriteString("Customer: " + name + " <" + email + ">\n")
	case name+email != "":
		b.WriteString("Customer: " + name + email + "\n")
	}
	if company := oneLine(t.Distill.CompanyName, nameWidth); company != "" {
		b.WriteString("Company: " + company + "\n")
	}
	if subject := oneLine(c.Subject, subjectWidth); subject != "" {
		b.WriteString("Subject: " + subject + "\n")
	}
	date := t.StartedAt
	if date.IsZero() && len(c.Turns) > 0 {
		date = c.Turns[0].At
	}
	if !date.IsZero() {
		b.WriteString("Date: " + date.UTC().Format("2006-01-02") + "\n")
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

// title is the subject, or else the first sentence that says what it is about, the customer's if there is any.
func title(c *Conversation) string {
	if s := oneLine(c.Subject, titleWidth); s != "" {
		return s
	}
	best, most := "", 0
	var words wordCount
	for _, speaker := range [...]string{record.SpeakerUser, record.SpeakerAgent} {
		for i := range c.Turns {
			t := &c.Turns[i]
			if t.Speaker != speaker {
				continue
			}
			for _, span := range t.Sentences {
				s := sentence{span: trimNoise(t.Text, span, speaker == record.SpeakerAgent, true)}
				s.span.End = s.span.Start + widthCut(t.Text[s.span.Start:s.span.End])
				text := t.Text[s.span.Start:s.span.End]
				if n := s.titleRank(t, text, &words); n > most {
					best, most = text, n
				}
				if most == bestTitle {
					return oneLine(best, titleWidth)
				}
			}
			if most >= goodTitle {
				return oneLine(best, titleWidth)
			}
		}
		if best != "" {
			break
		}
	}
	return oneLine(best, titleWidth)
}

const (
	bestTitle = 5
	goodTitle = 4 // to be had in one of the next sentences of the same message, if at all
)

// titleRank says how well a sentence stands for its conversation: fully if it states something; less if it only
// says something, as that one is disappointed; less with a word of content; less if it only picks an offered answer;
// hardly if it is a greeting; 0 for no words.
func (s *sentence) titleRank(t *Turn, text string, words *wordCount) int {
	if s.tokens = appendTokens(nil, t.Text, s.span.Start, s.span.End); len(s.tokens) > 0 {
		s.measure(t.Text, words)
		switch {
		case t.Chosen && s.content > 0:
			return 2
		case s.substantive() && s.states() && (s.cues[cueMood] == 0 || s.trouble() >= 4):
			return bestTitle
		case s.substantive():
			return goodTitle
		case s.content > 0:
			return 3
		}
	}
	return b2i(substantial(text))
}

// oneLine makes a text one line of at most width characters, cut between words where there are any.
func oneLine(s string, width int) string {
	if len(s) > 16*width {
		s = s[:16*width] // cluttered beyond reason; ToValidUTF8 below mends the cut
	}
	s = strings.Join(strings.Fields(record.CleanText(s)), " ")
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return strings.TrimRightFunc(s[:cutAt(s, width-1)], func(r rune) bool { return unicode.IsSpace(r) || r == ',' }) + "…"
}
