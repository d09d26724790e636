package mapids

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"haloingest/pipeline/record"
)

// Limits; see the package comment. Those of Halo are from halo.md, section 3.10.
const (
	subjectChars      = 1_000  // Halo
	messageChars      = 50_000 // Halo
	metadataBytes     = 50_000 // Halo
	customFieldsChars = 10_000 // Halo
	userTraitsBytes   = 20_000 // Halo: traits and context together
	companyBytes      = 50_000 // Halo: traits and context together

	nameChars     = 1_000 // ours, so that columns leave room for the rest of the traits
	avatarChars   = 2_000 // ours
	claimBytes    = 1_000 // PostgreSQL: an index entry ends at 2,704 bytes
	bodyChars     = 1_000_000
	messagesBytes = 32 << 20 // ours; jsonb ends at 256 MiB
	hardBytes     = 200 << 20
)

// cutMarks collects what was cut, in the order in which it was found.
type cutMarks []string

const (
	shownMarks = 15
	markBytes  = 60
	// marksBytes is room for a list of that many marks of that length, each byte escaped, in an entry.
	marksBytes = 2_200
)

func (c *cutMarks) add(name string) { *c = append(*c, name) }

// json returns the marks as a sorted JSON list of bounded length.
func (c cutMarks) json() json.RawMessage {
	marks := make([]string, len(c))
	for i, m := range c {
		marks[i] = strings.Map(func(r rune) rune {
			if r < ' ' {
				return ' '
			}
			return r
		}, cutBytes(m, markBytes))
	}
	slices.Sort(marks)
	marks = slices.Compact(marks)
	if n := len(marks); n > shownMarks {
		marks = append(marks[:shownMarks], fmt.Sprintf("(and %d more)", n-shownMarks))
	}
	return textList(marks)
}

// text cuts s at n characters and marks it under that name.
func (c *cutMarks) text(s string, n int, name string) string {
	if len(s) <= n {
		return s
	}
	count := 0
	for i := range s {
		if count++; count > n {
			c.add(name)
			return s[:i]
		}
	}
	return s
}

// whole leaves out a text that is longer than n bytes, and marks it.
func (c *cutMarks) whole(s string, n int, name string) string {
	if len(s) > n {
		c.add(name)
		return ""
	}
	return s
}

// cutBytes cuts s at n bytes or, so as to cut no character, a little before.
func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// bag is a JSON map whose members may be dropped to make room. Its prefix names it in marks.
type bag struct {
	prefix string
	values map[string]json.RawMessage
	keep   map[string]bool // members that stay
}

// shrink drops the largest members of the bags until excess units are gone, where size is what a
// member counts for. Ties go by name. It returns whether anything was dropped.
func (c *cutMarks) shrink(excess int, size func(key string, value []byte) int, bags ...bag) bool {
	if excess <= 0 {
		return false
	}
	type member struct {
		bag  int
		key  string
		size int
	}
	var all []member
	for i, b := range bags {
		for k, v := range b.values {
			if !b.keep[k] {
				all = append(all, member{i, k, size(k, v)})
			}
		}
	}
	slices.SortFunc(all, func(a, b member) int {
		return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(bags[a.bag].prefix, bags[b.bag].prefix), cmp.Compare(a.key, b.key))
	})
	dropped := false
	for _, m := range all {
		if excess <= 0 {
			break
		}
		delete(bags[m.bag].values, m.key)
		c.add(bags[m.bag].prefix + m.key)
		excess -= m.size
		dropped = true
	}
	return dropped
}

// memberBytes is what a member takes in its object: key, colon, value, comma.
func memberBytes(key string, value []byte) int {
	return len(record.AppendString(nil, key)) + len(value) + 2
}

func memberChars(key string, value []byte) int {
	return utf8.RuneCount(record.AppendString(nil, key)) + utf8.RuneCount(value) + 2
}

// traits brings custom fields, context and the bytes of the text columns of one row under Halo's
// limits, enters what was cut into the context, and returns both maps as JSON. The maps are changed.
func (c *cutMarks) traits(custom, context map[string]json.RawMessage, columns, limit int) (customJSON, contextJSON json.RawMessage) {
	customJSON = record.AppendObject(nil, custom)
	if len(customJSON) > customFieldsChars {
		excess := utf8.RuneCount(customJSON) - customFieldsChars
		if c.shrink(excess, memberChars, bag{prefix: "custom_fields.", values: custom}) {
			customJSON = record.AppendObject(nil, custom)
		}
	}
	contextJSON = record.AppendObject(nil, context)
	size := func() int { return columns + len(customJSON) + len(contextJSON) }
	if size() > limit || len(*c) > 0 && size()+marksBytes > limit {
		excess := size() + marksBytes - limit
		c.shrink(excess, memberBytes, bag{prefix: "custom_fields.", values: custom}, bag{prefix: "context.", values: context})
		customJSON = record.AppendObject(nil, custom)
	}
	if len(*c) > 0 {
		context["intercom_truncated"] = entry("Cut by the import", "status", c.json())
	}
	return customJSON, record.AppendObject(nil, context)
}

// metadata brings metadata under Halo's limit, enters what was cut, and returns it as JSON.
// inner is the member that is itself a map to be taken apart (nil values if there is none).
func (c *cutMarks) metadata(meta map[string]json.RawMessage, inner string, values map[string]json.RawMessage) json.RawMessage {
	finish := func() json.RawMessage {
		delete(meta, inner)
		if len(values) > 0 {
			meta[inner] = record.AppendObject(nil, values)
		}
		if len(*c) > 0 {
			meta["truncated"] = c.json()
		}
		return record.AppendObject(make([]byte, 0, 512), meta)
	}
	doc := finish()
	if len(doc) <= metadataBytes {
		return doc
	}
	delete(meta, inner)
	excess := len(doc) + marksBytes - metadataBytes
	c.shrink(excess, memberBytes, bag{prefix: inner + ".", values: values}, bag{prefix: "", values: meta, keep: keptMetadata})
	return finish()
}

// keptMetadata is what identifies an object and says what is missing of it; all of it is small.
var keptMetadata = map[string]bool{
	"source": true, "intercom_conversation_id": true, "intercom_ticket_id": true, "incomplete": true, "truncated": true,
}

// messages brings the messages under the limits and returns the column's JSON. It copies the list
// before it changes anything.
func (c *cutMarks) messages(list []record.Message) ([]record.Message, json.RawMessage) {
	total, large := 0, false
	for i := range list {
		n, h := len(list[i].Text), len(list[i].HTML)
		total += n + h
		large = large || n > bodyChars || h > bodyChars
	}
	if large || total > messagesBytes {
		list = slices.Clone(list)
		cut := func(chars int, html bool) {
			total = 0
			for i := range list {
				m := &list[i]
				m.Text = c.text(m.Text, chars, "messages."+m.ID+".text")
				if m.HTML != "" && (!html || utf8.RuneCountInString(m.HTML) > bodyChars) {
					m.HTML = ""
					c.add("messages." + m.ID + ".html")
				}
				total += len(m.Text) + len(m.HTML)
			}
		}
		cut(bodyChars, true)
		for chars := bodyChars; total > messagesBytes && chars > 0; {
			chars /= 2
			cut(chars, false)
		}
	}
	return list, record.AppendMessages(make([]byte, 0, total+total/16+256*len(list)+16), list)
}

// Small pieces of JSON.

func textJSON(s string) json.RawMessage { return record.AppendString(make([]byte, 0, len(s)+2), s) }

func textList(list []string) json.RawMessage {
	dst := []byte{'['}
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = record.AppendString(dst, s)
	}
	return append(dst, ']')
}

// entry is a value of a context: {label, type, value}.
func entry(label, kind string, value json.RawMessage) json.RawMessage {
	dst := record.AppendString([]byte(`{"label":`), label)
	dst = record.AppendString(append(dst, `,"type":`...), kind)
	return append(append(append(dst, `,"value":`...), value...), '}')
}
