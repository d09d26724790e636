package record

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// timeLayout writes a time in UTC with as many of its microseconds' digits as it needs, six at most.
const timeLayout = "2006-01-02T15:04:05.999999Z"

// AppendTime appends t as a JSON string in UTC, RFC 3339, with microseconds only where there are any;
// null where t is zero.
func AppendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = t.UTC().AppendFormat(dst, timeLayout)
	return append(dst, '"')
}

// AppendMessages appends the canonical JSON array that the column messages holds: every object has
// the keys of the contract ("Tables") in their sorted order, null where there is nothing, but text, which
// is "", and attachments, which is []. An attachment has the keys content_type, height, name, size, url,
// width. AuthorEmail, Redacted and Chosen are not stored.
func AppendMessages(dst []byte, messages []Message) []byte {
	dst = append(dst, '[')
	for i := range messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := &messages[i]
		dst = AppendTime(append(dst, `{"at":`...), m.At)
		dst = appendAttachments(append(dst, `,"attachments":`...), m.Attachments)
		dst = appendOptional(append(dst, `,"author_id":`...), m.AuthorID)
		dst = appendOptional(append(dst, `,"author_name":`...), m.AuthorName)
		dst = appendOptional(append(dst, `,"html":`...), m.HTML)
		dst = appendOptional(append(dst, `,"id":`...), m.ID)
		dst = appendOptional(append(dst, `,"kind":`...), m.Kind)
		dst = appendOptional(append(dst, `,"speaker":`...), m.Speaker)
		dst = AppendString(append(dst, `,"text":`...), m.Text)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendAttachments(dst []byte, list []Attachment) []byte {
	dst = append(dst, '[')
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		a := &list[i]
		dst = appendOptional(append(dst, `{"content_type":`...), a.ContentType)
		dst = appendPositive(append(dst, `,"height":`...), int64(a.Height))
		dst = appendOptional(append(dst, `,"name":`...), a.Name)
		dst = appendPositive(append(dst, `,"size":`...), a.Size)
		dst = appendOptional(append(dst, `,"url":`...), a.URL)
		dst = appendPositive(append(dst, `,"width":`...), int64(a.Width))
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendOptional appends a string, null where it is empty once cleaned.
func appendOptional(dst []byte, s string) []byte {
	if s == "" || CleanText(s) == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, s)
}

func appendPositive(dst []byte, n int64) []byte {
	if n <= 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, n, 10)
}

type storedMessage struct {
	At          *time.Time         `json:"at"`
	Attachments []storedAttachment `json:"attachments"`
	AuthorID    string             `json:"author_id"`
	AuthorName  string             `json:"author_name"`
	HTML        string             `json:"html"`
	ID          string             `json:"id"`
	Kind        string             `json:"kind"`
	Speaker     string             `json:"speaker"`
	Text        string             `json:"text"`
}

type storedAttachment struct {
	ContentType string `json:"content_type"`
	Height      int    `json:"height"`
	Name        string `json:"name"`
	Size        int64  `json:"size"`
	URL         string `json:"url"`
	Width       int    `json:"width"`
}

// ParseMessages reads what AppendMessages wrote, or jsonb gave back of it. Keys that it does not know
// are left out; attachments of null are none. AuthorEmail, Redacted and Chosen are not in the table and stay zero. Null is no messages.
func ParseMessages(raw []byte) ([]Message, error) {
	var stored []storedMessage
	if err := json.Unmarshal(raw, &stored); err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	if len(stored) == 0 {
		return nil, nil
	}
	messages := make([]Message, len(stored))
	for i, s := range stored {
		m := Message{
			ID: s.ID, Speaker: s.Speaker, Kind: s.Kind, Text: s.Text, HTML: s.HTML,
			AuthorID: s.AuthorID, AuthorName: s.AuthorName,
		}
		if s.At != nil {
			m.At = s.At.UTC()
		}
		for _, a := range s.Attachments {
			m.Attachments = append(m.Attachments, Attachment{
				Name: a.Name, ContentType: a.ContentType, URL: a.URL, Size: a.Size, Width: a.Width, Height: a.Height,
			})
		}
		messages[i] = m
	}
	return messages, nil
}

// SortMessages puts messages into the order of the contract: the opening message, then the parts,
// oldest first, and those of one instant by id, numbers before texts. A part without a time keeps its
// place behind the part that it came after.
func SortMessages(messages []Message) {
	keys := make([]messageKey, len(messages))
	sorted := true
	var last time.Time
	for i := range messages {
		m := &messages[i]
		if !m.At.IsZero() {
			last = m.At
		}
		number, _ := strconv.ParseUint(m.ID, 10, 64)
		keys[i] = messageKey{m.Kind != MessageSource, last, number, m.ID, i}
		sorted = sorted && (i == 0 || keys[i-1].compare(keys[i]) <= 0)
	}
	if sorted {
		return
	}
	slices.SortStableFunc(keys, messageKey.compare)
	unsorted := slices.Clone(messages)
	for i, k := range keys {
		messages[i] = unsorted[k.index]
	}
}

type messageKey struct {
	part   bool // not the opening message
	at     time.Time
	number uint64 // the id, 0 if it is no number
	id     string
	index  int
}

func (k messageKey) compare(l messageKey) int {
	switch {
	case k.part != l.part && l.part:
		return -1
	case k.part != l.part:
		return 1
	}
	if c := k.at.Compare(l.at); c != 0 {
		return c
	}
	switch {
	case k.number != 0 && l.number == 0:
		return -1
	case k.number == 0 && l.number != 0:
		return 1
	}
	return cmp.Or(cmp.Compare(k.number, l.number), cmp.Compare(k.id, l.id))
}

// UnionMessages joins what is held of a conversation already with what came now, for conversations of
// which Intercom gives the newest parts only (fact sheet, section 2.1). A message that came counts as
// it came, redactions included; one that did not come is kept. The result is in the order of
// SortMessages and shares nothing with its arguments but strings and attachments.
func UnionMessages(held, came []Message) []Message {
	type key struct {
		source bool
		id     string
	}
	of := func(m Message) key { return key{m.Kind == MessageSource, m.ID} }
	fresh := make(map[key]bool, len(came))
	source := false
	for _, m := range came {
		fresh[of(m)] = true
		source = source || m.Kind == MessageSource
	}
	all := make([]Message, 0, len(held)+len(came))
	for _, m := range held {
		if fresh[of(m)] || m.Kind == MessageSource && source {
			continue
		}
		all = append(all, m)
	}
	all = append(all, came...)
	SortMessages(all)
	return all
}
