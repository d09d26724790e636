package mapids

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// marks are the names in a truncated list of metadata, or of the context entry.
func marks(t failer, doc json.RawMessage) (list []string) {
	v := object(t, doc)["truncated"]
	if e, ok := object(t, doc)["intercom_truncated"].(map[string]any); ok {
		v = e["value"]
	}
	all, _ := v.([]any)
	for _, m := range all {
		list = append(list, m.(string))
	}
	return list
}

func TestTextsAreCutAtACharacterAndMarked(t *testing.T) {
	long := strings.Repeat("é", 60_000)
	ticket := mapped(t, Config{}, &record.Ticket{ID: "1", Title: long, Description: long}).Ticket
	if n := utf8.RuneCountInString(ticket.Subject); n != 1_000 || !utf8.ValidString(ticket.Subject) {
		t.Errorf("the subject has %d characters", n)
	}
	if n := utf8.RuneCountInString(ticket.Message); n != 50_000 || !utf8.ValidString(ticket.Message) {
		t.Errorf("the message has %d characters", n)
	}
	if diff := cmp.Diff([]string{"message", "subject"}, marks(t, ticket.Metadata)); diff != "" {
		t.Error(diff)
	}
	transcript := mapped(t, Config{}, &record.Conversation{ID: "1", Subject: long}).Transcript
	if n := utf8.RuneCountInString(transcript.Subject); n != 1_000 {
		t.Errorf("the subject has %d characters", n)
	}
	if diff := cmp.Diff([]string{"subject"}, marks(t, transcript.Metadata)); diff != "" {
		t.Error(diff)
	}
	user := mapped(t, Config{}, &record.Contact{ID: "1", Name: long, ExternalID: long, Email: long + "@x.example", Avatar: long}).EndUser
	if n := utf8.RuneCountInString(user.Name); n != 1_000 || user.ExternalID != "" || user.Email != "" || user.EmailKey != "" || user.Avatar != "" {
		t.Errorf("%d characters of name, external id %.10q, e-mail %.10q, avatar %.10q", n, user.ExternalID, user.Email, user.Avatar)
	}
	if diff := cmp.Diff([]string{"avatar", "context.intercom_external_id", "email", "external_id", "name"}, marks(t, user.Context)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatFitsExactlyIsNotCut(t *testing.T) {
	subject, message := strings.Repeat("é", 1_000), strings.Repeat("é", 50_000)
	r := mapped(t, Config{}, &record.Ticket{ID: "1", Title: subject, Description: message}).Ticket
	if r.Subject != subject || r.Message != message || marks(t, r.Metadata) != nil {
		t.Errorf("cut: %v", marks(t, r.Metadata))
	}
}

func TestTheLargestAttributesGoFirst(t *testing.T) {
	custom := map[string]json.RawMessage{"small": raw("1")}
	for i := range 4 {
		custom[fmt.Sprintf("a%d", i)] = raw(`"` + strings.Repeat("x", 4_000) + `"`)
	}
	custom["huge"] = raw(`"` + strings.Repeat("x", 5_000) + `"`)
	r := mapped(t, Config{}, &record.Contact{ID: "1", Custom: custom}).EndUser
	var left []string
	for k := range object(t, r.CustomFields) {
		left = append(left, k)
	}
	if _, ok := object(t, r.CustomFields)["small"]; !ok || len(left) != 3 {
		t.Errorf("left are %v", left)
	}
	if diff := cmp.Diff([]string{"custom_fields.a0", "custom_fields.a1", "custom_fields.huge"}, marks(t, r.Context)); diff != "" {
		t.Error(diff)
	}
	if len(custom) != 6 {
		t.Error("the record was changed")
	}
}

func TestManyMarksAreSummedUp(t *testing.T) {
	custom := map[string]json.RawMessage{}
	for i := range 1_000 {
		custom[fmt.Sprintf("%04d"+strings.Repeat("\"", 90), i)] = raw(`"` + strings.Repeat("x", 100) + `"`)
	}
	r := mapped(t, Config{}, &record.Contact{ID: "1", Custom: custom}).EndUser
	m := marks(t, r.Context)
	if len(m) != shownMarks+1 || !strings.Contains(m[shownMarks], "more)") {
		t.Errorf("%d marks, the last is %q", len(m), m[len(m)-1])
	}
	for _, name := range m {
		if len(name) > markBytes {
			t.Errorf("a mark has %d bytes", len(name))
		}
	}
}

func TestMetadataThatIsTooLargeKeepsWhatIdentifies(t *testing.T) {
	custom := map[string]json.RawMessage{"huge": raw(`"` + strings.Repeat("x", 60_000) + `"`), "small": raw("1")}
	r := mapped(t, Config{}, &record.Conversation{ID: "1", State: "open", SourceURL: strings.Repeat("u", 3_000), Custom: custom}).Transcript
	m := object(t, r.Metadata)
	attributes, _ := m["custom_attributes"].(map[string]any)
	if m["source"] != "intercom" || m["intercom_conversation_id"] != "1" || m["url"] == nil || attributes["small"] != 1.0 || attributes["huge"] != nil {
		t.Errorf("got %.300s", r.Metadata)
	}
	if diff := cmp.Diff([]string{"custom_attributes.huge"}, marks(t, r.Metadata)); diff != "" {
		t.Error(diff)
	}
	url := mapped(t, Config{}, &record.Conversation{ID: "1", SourceURL: strings.Repeat("u", 60_000)}).Transcript
	if diff := cmp.Diff([]string{"url"}, marks(t, url.Metadata)); diff != "" {
		t.Error(diff)
	}
}

func TestHugeMessages(t *testing.T) {
	in := &record.Conversation{ID: "1", Messages: []record.Message{
		{ID: "a", Kind: "source", Text: strings.Repeat("é", bodyChars+5), HTML: strings.Repeat("x", bodyChars+5)},
		{ID: "b", Kind: "comment", Text: "short", HTML: "<p>short</p>"},
	}, HeldParts: 1, ExpectedParts: 1}
	r := mapped(t, Config{}, in).Transcript
	if n := utf8.RuneCountInString(r.Messages[0].Text); n != bodyChars || r.Messages[0].HTML != "" || r.Messages[1].HTML == "" {
		t.Errorf("%d characters are left", n)
	}
	if diff := cmp.Diff([]string{"messages.a.html", "messages.a.text"}, marks(t, r.Metadata)); diff != "" {
		t.Error(diff)
	}
	if len(in.Messages[0].HTML) == 0 {
		t.Error("the record was changed")
	}
	// Many large messages: each fits, all together do not.
	in = &record.Conversation{ID: "1", HeldParts: 100, ExpectedParts: 100}
	for i := range 100 {
		in.Messages = append(in.Messages, record.Message{ID: fmt.Sprint(i), Kind: "comment", Text: strings.Repeat("x", 900_000), HTML: "<p>"})
	}
	r = mapped(t, Config{}, in).Transcript
	if len(r.MessagesJSON) > messagesBytes+100*300 || len(r.Messages) != 100 || r.Messages[0].HTML != "" || len(r.Messages[0].Text) != 250_000 {
		t.Errorf("%d bytes, text of %d", len(r.MessagesJSON), len(r.Messages[0].Text))
	}
	stored, err := record.ParseMessages(r.MessagesJSON)
	if err != nil || len(stored) != 100 || stored[0].Text != r.Messages[0].Text {
		t.Errorf("%d stored, %v", len(stored), err)
	}
}

func drawCustom(t *rapid.T) map[string]json.RawMessage {
	custom := map[string]json.RawMessage{}
	for range rapid.IntRange(0, 12).Draw(t, "attributes") {
		name := record.CleanText(rapid.String().Draw(t, "name"))
		text := strings.Repeat(rapid.SampledFrom([]string{"x", "é", `"`, "😀", "\n"}).Draw(t, "letter"), rapid.SampledFrom([]int{0, 10, 1_000, 3_000, 30_000}).Draw(t, "length"))
		custom[name] = record.AppendString(nil, text)
	}
	return custom
}

func TestWhateverIsPutInTheLimitsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		custom := drawCustom(t)
		tags := make([]record.Named, rapid.IntRange(0, 300).Draw(t, "tags"))
		for i := range tags {
			tags[i].Name = fmt.Sprintf("tag %d %s", i, strings.Repeat("y", rapid.SampledFrom([]int{0, 100, 900}).Draw(t, "tag")))
		}
		text := strings.Repeat("é", rapid.SampledFrom([]int{0, 1, 999, 1001, 60_000}).Draw(t, "text"))

		user := mapped(t, Config{}, &record.Contact{ID: "1", Name: text, Phone: text, Tags: tags, Custom: custom}).EndUser
		if n := utf8.RuneCount(user.CustomFields); n > customFieldsChars {
			t.Fatalf("custom fields have %d characters", n)
		}
		if n := len(user.CustomFields) + len(user.Context) + len(user.Name); n > userTraitsBytes {
			t.Fatalf("traits and context have %d bytes", n)
		}
		company := mapped(t, Config{}, &record.Company{ID: "1", Name: text, Website: text, Tags: tags, Segments: tags, Custom: custom}).Company
		if n := len(company.CustomFields) + len(company.Context) + len(company.Name); n > companyBytes {
			t.Fatalf("traits and context have %d bytes", n)
		}
		transcript := mapped(t, Config{}, &record.Conversation{ID: "1", SourceURL: text, Subject: text, Tags: tags, Custom: custom}).Transcript
		if n := len(transcript.Metadata); n > metadataBytes {
			t.Fatalf("metadata has %d bytes", n)
		}
		ticket := mapped(t, Config{}, &record.Ticket{ID: "1", Title: text, Description: text, Attributes: custom}).Ticket
		if n := len(ticket.Metadata); n > metadataBytes {
			t.Fatalf("metadata has %d bytes", n)
		}
		// What is there no more is named, unless the names are summed up.
		checkMarked(t, custom, object(t, user.CustomFields), "custom_fields.", marks(t, user.Context))
		attributes, _ := object(t, ticket.Metadata)["attributes"].(map[string]any)
		checkMarked(t, custom, attributes, "attributes.", marks(t, ticket.Metadata))
		for _, doc := range []json.RawMessage{user.CustomFields, user.Context, company.CustomFields, company.Context, transcript.Metadata, ticket.Metadata} {
			if c, err := record.CanonicalJSON(doc); err != nil || string(c) != string(doc) {
				t.Fatalf("not canonical: %.200s, %v", doc, err)
			}
		}
	})
}

func checkMarked(t *rapid.T, custom map[string]json.RawMessage, left map[string]any, prefix string, marked []string) {
	missing := 0
	for k := range custom {
		if _, there := left[k]; !there {
			missing++
		}
	}
	named := 0
	for _, m := range marked {
		if strings.HasPrefix(m, prefix) {
			named++
		}
	}
	all := len(marked) <= shownMarks && !sameOnceCut(custom)
	if missing > 0 && len(marked) == 0 || named > missing || missing > named && all {
		t.Fatalf("%d attributes are gone, marked are %q", missing, marked)
	}
}

// sameOnceCut reports whether marks of different attributes may look the same.
func sameOnceCut(custom map[string]json.RawMessage) bool {
	seen := map[string]bool{}
	for k := range custom {
		var c cutMarks
		c.add("custom_fields." + k)
		name := string(c.json())
		if seen[name] {
			return true
		}
		seen[name] = true
	}
	return false
}
