package record

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestStoredMessages(t *testing.T) {
	at := time.Date(2024, 5, 1, 10, 0, 0, 0, time.FixedZone("", 7200))
	got := AppendMessages(nil, []Message{
		{ID: "9", Kind: "comment", Speaker: "user", Text: "a\"\x00\xffb", HTML: "<p>x</p>", At: at.Add(1500 * time.Microsecond), AuthorID: "u", AuthorName: "Ada", AuthorEmail: "not stored",
			Attachments: []Attachment{{Name: "a.png", URL: "https://files.example/a.png", ContentType: "image/png", Size: 10, Width: 2}, {}}},
		{At: at, Redacted: true, HTML: "\x00"},
	})
	want := `[{"at":"2024-05-01T08:00:00.0015Z","attachments":[` +
		`{"content_type":"image/png","height":null,"name":"a.png","size":10,"url":"https://files.example/a.png","width":2},` +
		`{"content_type":null,"height":null,"name":null,"size":null,"url":null,"width":null}],` +
		`"author_id":"u","author_name":"Ada","html":"<p>x</p>","id":"9","kind":"comment","speaker":"user","text":"a\"` + "\uFFFD" + `b"},` +
		`{"at":"2024-05-01T08:00:00Z","attachments":[],"author_id":null,"author_name":null,"html":null,"id":null,"kind":null,"speaker":null,"text":""}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if s := string(AppendMessages([]byte("x"), nil)); s != "x[]" {
		t.Errorf("no messages are %q", s)
	}
}

func drawText(t *rapid.T, name string) string { return CleanText(rapid.String().Draw(t, name)) }

func drawMessage(t *rapid.T) Message {
	m := Message{
		ID: rapid.StringMatching(`[0-9]{0,3}|[a-c]`).Draw(t, "id"), Kind: rapid.SampledFrom([]string{"comment", "note", "close"}).Draw(t, "kind"),
		Speaker: rapid.SampledFrom([]string{"user", "agent", ""}).Draw(t, "speaker"), Text: drawText(t, "text"), HTML: drawText(t, "html"),
		AuthorID: drawText(t, "author"), AuthorName: drawText(t, "name"),
	}
	if rapid.Bool().Draw(t, "dated") {
		m.At = time.UnixMicro(rapid.Int64Range(1, 3_000_000).Draw(t, "at")).UTC()
	}
	for range rapid.IntRange(0, 2).Draw(t, "files") {
		m.Attachments = append(m.Attachments, Attachment{Name: drawText(t, "file"), Size: rapid.Int64Range(0, 1<<40).Draw(t, "size"), Width: rapid.IntRange(0, 9).Draw(t, "width")})
	}
	return m
}

func TestStoredMessagesAreCanonicalAndReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(drawMessage), 0, 5).Draw(t, "messages")
		doc := AppendMessages(nil, want)
		canonical, err := CanonicalJSON(doc)
		if err != nil || string(canonical) != string(doc) {
			t.Fatalf("stored %s\ncanonical %s, %v", doc, canonical, err)
		}
		got, err := ParseMessages(doc)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

func TestParseMessagesTellsWhatIsNoList(t *testing.T) {
	if _, err := ParseMessages(json.RawMessage(`{"id":1}`)); err == nil {
		t.Error("an object passed")
	}
	if m, err := ParseMessages(json.RawMessage(`[{"id":"1","attachments":null},{"id":"2","attachments":[]}]`)); err != nil || len(m) != 2 || m[0].Attachments != nil || m[1].Attachments != nil {
		t.Errorf("messages without attachments are %+v, %v", m, err)
	}
	if m, err := ParseMessages(json.RawMessage(`null`)); m != nil || err != nil {
		t.Errorf("null gave %v, %v", m, err)
	}
}

func ids(list []Message) (s []string) {
	for _, m := range list {
		s = append(s, m.ID)
	}
	return s
}

func TestSortMessages(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(1000+s, 0).UTC() }
	for _, c := range []struct {
		name string
		in   []Message
		want []string
	}{
		{"oldest first", []Message{{ID: "2", At: at(2)}, {ID: "1", At: at(1)}}, []string{"1", "2"}},
		{"the opening message before all, whatever its time", []Message{{ID: "1", At: at(1)}, {ID: "s", Kind: MessageSource, At: at(5)}}, []string{"s", "1"}},
		{"in one second by number, not by text", []Message{{ID: "10", At: at(1)}, {ID: "9", At: at(1)}}, []string{"9", "10"}},
		{"numbers before other ids", []Message{{ID: "b", At: at(1)}, {ID: "a", At: at(1)}, {ID: "7", At: at(1)}}, []string{"7", "a", "b"}},
		{"a part without a time stays behind its predecessor", []Message{{ID: "5", At: at(5)}, {ID: "6"}, {ID: "1", At: at(1)}}, []string{"1", "5", "6"}},
		{"parts without an id keep their order", []Message{{ID: "", At: at(1), Text: "x"}, {ID: "", At: at(1), Text: "a"}}, []string{"", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := append([]Message(nil), c.in...)
			SortMessages(got)
			if diff := cmp.Diff(c.want, ids(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnionKeepsWhatFellOutAndTakesWhatCame(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(1000+s, 0).UTC() }
	held := []Message{{ID: "s", Kind: MessageSource, At: at(0), Text: "old"}, {ID: "1", At: at(1), Text: "one"}, {ID: "2", At: at(2), Text: "two"}}
	came := []Message{{ID: "s2", Kind: MessageSource, At: at(0), Text: "new"}, {ID: "2", At: at(2), Redacted: true}, {ID: "3", At: at(3), Text: "three"}}
	want := []Message{{ID: "s2", Kind: MessageSource, At: at(0), Text: "new"}, {ID: "1", At: at(1), Text: "one"}, {ID: "2", At: at(2), Redacted: true}, {ID: "3", At: at(3), Text: "three"}}
	if diff := cmp.Diff(want, UnionMessages(held, came)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, UnionMessages(UnionMessages(held, came), came)); diff != "" {
		t.Errorf("a second time changes something: %s", diff)
	}
	if got := UnionMessages(held, nil); len(got) != 3 {
		t.Errorf("nothing came, %d messages are left", len(got))
	}
}
