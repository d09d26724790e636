package extract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// failer is what testing.T and rapid.T have in common.
type failer interface{ Fatalf(string, ...any) }

// accepted walks everything that is reachable from v and fails if PostgreSQL would refuse any of it.
func accepted(t failer, path string, v reflect.Value) {
	switch x := v.Interface().(type) {
	case time.Time:
		if !x.IsZero() && (x.Location() != time.UTC || x.Year() < 1970 || x.Year() > 9999 || !x.Equal(x.Truncate(time.Microsecond))) {
			t.Fatalf("%s is the time %v", path, x)
		}
		return
	case json.RawMessage:
		if len(x) == 0 {
			return
		}
		if c, err := record.CanonicalJSON(x); err != nil || !bytes.Equal(c, x) {
			t.Fatalf("%s is %q, canonical is %q, %v", path, x, c, err)
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			t.Fatalf("%s is %q", path, s)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			accepted(t, path, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			accepted(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			accepted(t, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			accepted(t, path+" key", k)
			accepted(t, path+"["+k.String()+"]", v.MapIndex(k))
		}
	}
}

// checkAny runs one object of any content through the stage and checks what always holds.
func checkAny(t failer, kind record.Kind, body []byte) {
	var last pipeline.Result[record.Item]
	for n := range 2 {
		before := bytes.Clone(body)
		result, err := New(Options{Reference: reference}).Process(context.Background(), []record.Object{objectOf(kind, body)})
		if err != nil {
			t.Fatalf("%v", err)
		}
		if !bytes.Equal(before, body) {
			t.Fatalf("the body was changed")
		}
		if len(result.Items)+len(result.Rejects) != 1 {
			t.Fatalf("%d items, %d rejects", len(result.Items), len(result.Rejects))
		}
		for _, item := range result.Items {
			item.Object = nil
			accepted(t, "item", reflect.ValueOf(item))
			id := ""
			switch {
			case item.Contact != nil:
				id = item.Contact.ID
			case item.Company != nil:
				id = item.Company.ID
			case item.Conversation != nil:
				id = item.Conversation.ID
				checkMessages(t, item.Conversation.Messages, item.Conversation.HeldParts)
			case item.Ticket != nil:
				id = item.Ticket.ID
				checkMessages(t, item.Ticket.Messages, item.Ticket.HeldParts)
			}
			if id == "" || len(id) > maxID {
				t.Fatalf("the id is %q", id)
			}
		}
		for _, r := range result.Rejects {
			r.Payload = nil
			accepted(t, "reject", reflect.ValueOf(r))
			if r.Reason == "" || strings.ContainsAny(r.Reason, "\n\r") || len(r.Field) > 200 || len(r.Reason) > 600 {
				t.Fatalf("reject %+v", r)
			}
		}
		accepted(t, "counts", reflect.ValueOf(result.Counts))
		if n > 0 {
			if !reflect.DeepEqual(last, result) {
				t.Fatalf("a second time gives something else:\n%+v\n%+v", last, result)
			}
		}
		last = result
	}
}

func checkMessages(t failer, messages []record.Message, parts int) {
	opening := 0
	ids := map[string]bool{}
	for i, m := range messages {
		if m.Kind == record.MessageSource {
			if opening++; i != 0 {
				t.Fatalf("the opening message is at %d", i)
			}
		} else if m.ID != "" {
			if ids[m.ID] {
				t.Fatalf("part %s is there twice", m.ID)
			}
			ids[m.ID] = true
		}
		if m.Redacted && (m.Text != "" || m.HTML != "" || len(m.Attachments) > 0) {
			t.Fatalf("a redacted message says %+v", m)
		}
	}
	if opening+parts != len(messages) {
		t.Fatalf("%d opening messages and %d parts make %d messages", opening, parts, len(messages))
	}
}

func fuzzKind(f *testing.F, kind record.Kind) {
	names, objects := samples(f)
	for i, o := range objects {
		if o.Kind == kind {
			f.Add(o.Body)
		}
		_ = names[i]
	}
	f.Add([]byte(`{"id":"1"}`))
	f.Fuzz(func(t *testing.T, body []byte) { checkAny(t, kind, body) })
}

func FuzzContact(f *testing.F)      { fuzzKind(f, record.KindContact) }
func FuzzCompany(f *testing.F)      { fuzzKind(f, record.KindCompany) }
func FuzzConversation(f *testing.F) { fuzzKind(f, record.KindConversation) }
func FuzzTicket(f *testing.F)       { fuzzKind(f, record.KindTicket) }

// oddValues are what may stand where anything else was expected.
var oddValues = []string{
	`null`, `true`, `false`, `0`, `-1`, `1`, `1.5`, `1e400`, `12345678901234567890`, `""`, `" "`, `"0"`, `"x"`, `"\u0000"`, `"\ud800"`, "\"\xff\"",
	`"` + strings.Repeat("é", 2000) + `"`, `[]`, `[null]`, `[1,"a",{}]`, `[[]]`, `{}`, `{"data":[]}`, `{"data":null}`, `{"data":"x"}`, `{"id":null}`, `{"id":"7","name":"n"}`, `{"type":"list","data":[{"id":7}]}`,
	strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200), `"<p>a<br>b"`, `"2024-01-01T00:00:00Z"`, `9223372036854775807`, `1700000000000`,
}

// TestAnyValueMayBeReplacedByAnyOther replaces values anywhere in the samples.
func TestAnyValueMayBeReplacedByAnyOther(t *testing.T) {
	_, objects := samples(t)
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom(objects).Draw(t, "sample")
		body := o.Body
		for range rapid.IntRange(1, 3).Draw(t, "replacements") {
			var tr tree
			if _, err := tr.parse(body); err != nil {
				t.Fatalf("%v", err)
			}
			at := rapid.IntRange(1, len(tr.nodes)-1).Draw(t, "node")
			with := rapid.SampledFrom(oddValues).Draw(t, "value")
			v := value{&tr, int32(at)}
			doc := v.document()
			start := int(tr.nodes[at].start)
			if v.kind() == text {
				start--
			}
			body = []byte(string(body[:start]) + with + string(body[start+len(doc):]))
			if len(tr.nodes) < 2 {
				break
			}
		}
		checkAny(t, o.Kind, body)
	})
}
