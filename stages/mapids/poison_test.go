package mapids_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/stages/extract"
	"haloingest/stages/mapids"
)

// This file runs objects that are made to break a loader (proof.md, F11) through the first two stages
// and gives what comes out to a real PostgreSQL.

var org = record.UUID{1, 2, 3}

func deep(n int) string { return strings.Repeat(`{"a":[`, n) + strings.Repeat(`]}`, n) }

func big(n int) string { return strings.Repeat("x", n) }

func part(fields string) string {
	return `{"id":"1","created_at":1700000000,"source":{"type":"email","id":"s","body":"<p>hi</p>","author":{"type":"user","id":"u"}},"conversation_parts":{"conversation_parts":[{"id":"2","part_type":"comment","author":{"type":"user","id":"u"},` + fields + `}]}}`
}

// poison are the kinds of broken objects. Those of which nothing can be made are rejected; the others
// must load.
var poison = []struct {
	name     string
	kind     record.Kind
	body     string
	rejected bool
}{
	{"NUL in a body, escaped", record.KindConversation, part(`"body":"a\u0000b"`), false},
	{"NUL in a body, raw", record.KindConversation, part("\"body\":\"a\x00b\""), true},
	{"NUL in a name", record.KindContact, `{"id":"1","name":"a\u0000b","email":"\u0000"}`, false},
	{"NUL in an attribute's name and value", record.KindContact, `{"id":"1","custom_attributes":{"a\u0000":"\u0000","a":{"\u0000":["\u0000"]}}}`, false},
	{"NUL as an entity", record.KindConversation, part(`"body":"<p>a&#0;b&#x0;</p>"`), false},
	{"NUL in an id", record.KindCompany, `{"id":"a\u0000b"}`, false},
	{"bytes that are no UTF-8", record.KindConversation, part("\"body\":\"<p>\xff\xfe\xc3\x28</p>\""), false},
	{"bytes that are no UTF-8 in a key", record.KindContact, "{\"id\":\"1\",\"custom_attributes\":{\"\xff\":1,\"\xfe\":2}}", false},
	{"a surrogate half", record.KindConversation, part(`"body":"\ud83d"`), false},
	{"surrogate halves the wrong way round", record.KindContact, `{"id":"1","name":"\ude00\ud83d"}`, false},
	{"a surrogate as bytes", record.KindContact, "{\"id\":\"1\",\"name\":\"\xed\xa0\xbd\"}", false},
	{"a surrogate as an entity", record.KindConversation, part(`"body":"<p>&#xD83D;</p>"`), false},
	{"a part of 3 MB", record.KindConversation, part(`"body":"<p>` + big(3<<20) + `</p>"`), false},
	{"a part of control characters", record.KindConversation, part(`"body":"` + strings.Repeat(`\u0001`, 50_000) + `"`), false},
	{"a depth of 10,000 in an attribute", record.KindContact, `{"id":"1","custom_attributes":{"d":` + deep(5_000) + `}}`, false},
	{"a depth of 100,000 in an unknown field", record.KindContact, `{"id":"1","d":` + deep(50_000) + `}`, false},
	{"a depth of 100,000 all over", record.KindContact, deep(50_000), true},
	{"a part that is a text", record.KindConversation, `{"id":"1","conversation_parts":{"conversation_parts":["x"]}}`, true},
	{"parts that are a number", record.KindConversation, `{"id":"1","conversation_parts":7}`, true},
	{"names that are objects", record.KindContact, `{"id":"1","name":{"first":"a"},"email":["a"],"phone":{"n":1},"avatar":[1]}`, true},
	{"an id that is an object", record.KindContact, `{"id":{"a":1}}`, true},
	{"an id of 10,000 characters", record.KindContact, `{"id":"` + big(10_000) + `"}`, true},
	{"references with ids of 10,000 characters", record.KindContact, `{"id":"1","companies":{"data":[{"id":"` + big(10_000) + `"}]}}`, false},
	{"an external id and e-mail of 10,000 characters", record.KindContact, `{"id":"1","external_id":"` + big(10_000) + `","email":"` + big(10_000) + `@x.example"}`, false},
	{"the year 292277", record.KindCompany, `{"id":"1","created_at":9223372036854,"updated_at":9223372036854775807,"remote_created_at":92233720368547758079}`, false},
	{"the year 0 and before", record.KindCompany, `{"id":"1","created_at":-62167219201,"updated_at":"0000-00-00","last_request_at":-1e300}`, false},
	{"numbers that no column holds", record.KindCompany, `{"id":"1","size":1e308,"session_count":99999999999999999999,"user_count":-1,"monthly_spend":1e999999}`, false},
	{"numbers that no numeric holds", record.KindContact, `{"id":"1","custom_attributes":{"a":1e400,"b":1e-400,"c":1e131073,"d":-1e-16384,"e":1` + strings.Repeat("0", 140_000) + `,"f":0.` + strings.Repeat("0", 20_000) + `1}}`, false},
	{"NaN and Infinity", record.KindContact, `{"id":"1","custom_attributes":{"a":NaN}}`, true},
	{"100,000 attributes", record.KindContact, `{"id":"1","custom_attributes":{` + manyAttributes(100_000) + `}}`, false},
	{"attributes of 1 MB", record.KindTicket, `{"id":"1","ticket_attributes":{"a":"` + big(1<<20) + `","` + big(1<<20) + `":1,"_default_title_":"` + big(1<<20) + `"}}`, false},
	{"doubled keys", record.KindContact, `{"id":"1","id":"2","custom_attributes":{"a":1,"a":{"b":1,"b":2}}}`, false},
	{"an empty document", record.KindTicket, ``, true},
	{"half a document", record.KindTicket, `{"id":"1","ticket_parts":{`, true},
	{"HTML instead of JSON", record.KindTicket, `<html><body>504</body></html>`, true},
	{"markup nested 50,000 deep", record.KindConversation, part(`"body":"` + strings.Repeat("<blockquote><ul><li>", 50_000) + `x"`), false},
	{"an unclosed tag and an entity of 1 MB", record.KindConversation, part(`"body":"<p>a<a href='` + big(1<<20) + `"`), false},
	{"10,000 parts with one id", record.KindConversation, `{"id":"1","conversation_parts":[` + strings.TrimSuffix(strings.Repeat(`{"id":"2"},`, 10_000), ",") + `]}`, false},
	{"a byte order mark", record.KindTicket, "\ufeff{\"id\":\"1\"}", true},
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `%s"a%d":%d`, strings.Repeat(",", min(i, 1)), i, i)
	}
	return b.String()
}

// run takes one object through extract and map-ids.
func run(t testing.TB, o record.Object) ([]record.Change, []pipeline.Reject) {
	t.Helper()
	items, err := extract.New(extract.Options{}).Process(context.Background(), []record.Object{o})
	if err != nil {
		t.Fatal(err)
	}
	stage, err := mapids.New(mapids.Config{Org: org})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := stage.Process(context.Background(), items.Items)
	if err != nil {
		t.Fatal(err)
	}
	return changes.Items, append(items.Rejects, changes.Rejects...)
}

func connect(t *testing.T) *pgx.Conn {
	conn, err := pgx.Connect(context.Background(), pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// columns are the values of a change by type, as a loader would send them.
func columns(c record.Change) (texts []string, times []time.Time, docs []json.RawMessage, ints []int) {
	switch {
	case c.EndUser != nil:
		r := c.EndUser
		return append([]string{r.SourceID, r.ExternalID, r.EmailKey, r.Name, r.Email, r.Avatar, r.Role}, r.Companies...),
			[]time.Time{r.SourceUpdatedAt, r.SourceCreatedAt, r.SignedUpAt, r.FirstSeen, r.LastSeen, r.LastContactedAt}, []json.RawMessage{r.CustomFields, r.Context}, nil
	case c.Company != nil:
		r := c.Company
		return []string{r.SourceID, r.ExternalID, r.Name, r.Domain, r.Industry, r.Plan},
			[]time.Time{r.SourceUpdatedAt, r.SourceCreatedAt, r.SignedUpAt, r.LastRequestAt}, []json.RawMessage{r.CustomFields, r.Context}, []int{r.EmployeeCount}
	case c.Transcript != nil:
		r := c.Transcript
		return []string{r.SourceID, r.ContactID, r.CompanyID, r.SessionID, r.Subject, r.Status, r.Outcome},
			[]time.Time{r.SourceUpdatedAt, r.SourceCreatedAt, r.StartedAt, r.EndedAt}, []json.RawMessage{r.MessagesJSON, r.Metadata}, []int{r.MessageCount, r.ExpectedMessageCount}
	case c.Ticket != nil:
		r := c.Ticket
		return []string{r.SourceID, r.ContactID, r.CompanyID, r.ConversationID, r.Number, r.Subject, r.Message, r.Status, r.Priority, r.Category, r.Assignee},
			[]time.Time{r.SourceUpdatedAt, r.SourceCreatedAt, r.ResolvedAt}, []json.RawMessage{r.MessagesJSON, r.Metadata}, nil
	}
	return nil, nil, nil, nil
}

func TestPoisonObjectsLoadOrAreRejectedAndNeverKillABatch(t *testing.T) {
	conn := connect(t)
	ctx := context.Background()
	if _, err := conn.Exec(ctx, `CREATE TEMP TABLE sink (t text, at timestamptz, j jsonb, n integer);
		CREATE TEMP TABLE keys (k text); CREATE INDEX ON keys (k); CREATE INDEX ON keys (lower(btrim(k)))`); err != nil {
		t.Fatal(err)
	}
	for _, p := range poison {
		t.Run(p.name, func(t *testing.T) {
			changes, rejects := run(t, record.Object{Kind: p.kind, ID: "1", Body: []byte(p.body), FetchedAt: time.Unix(1_700_000_000, 0)})
			if p.rejected {
				if len(rejects) != 1 || len(changes) != 0 {
					t.Fatalf("%d rejects, %d changes; want it rejected", len(rejects), len(changes))
				}
				r := rejects[0]
				if r.Stage == "" || r.Reason == "" || !bytes.Equal(r.Payload, []byte(p.body)) {
					t.Errorf("reject of stage %q, reason %q, payload of %d bytes", r.Stage, r.Reason, len(r.Payload))
				}
				copyKeys(t, conn, r.Kind, r.ID, r.Field, r.Reason)
				return
			}
			if len(rejects) != 0 || len(changes) != 1 {
				t.Fatalf("rejected: %+v", rejects)
			}
			texts, times, docs, ints := columns(changes[0])
			var rows [][]any
			for _, s := range texts {
				rows = append(rows, []any{s, nil, nil, nil})
			}
			for _, at := range times {
				if !at.IsZero() {
					rows = append(rows, []any{nil, at, nil, nil})
				}
			}
			for _, doc := range docs {
				rows = append(rows, []any{nil, nil, doc, nil})
			}
			for _, n := range ints {
				rows = append(rows, []any{nil, nil, nil, n})
			}
			if n, err := conn.CopyFrom(ctx, pgx.Identifier{"sink"}, []string{"t", "at", "j", "n"}, pgx.CopyFromRows(rows)); err != nil || int(n) != len(rows) {
				t.Fatalf("COPY took %d of %d rows: %v", n, len(rows), err)
			}
			c := changes[0]
			copyKeys(t, conn, c.SourceID)
			if c.EndUser != nil {
				copyKeys(t, conn, append([]string{c.EndUser.ExternalID, c.EndUser.Email, c.EndUser.EmailKey}, c.EndUser.Companies...)...)
			}
			for _, doc := range docs {
				roundTrip(t, conn, doc)
			}
		})
	}
}

// copyKeys writes texts that stand in index keys.
func copyKeys(t *testing.T, conn *pgx.Conn, keys ...string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), "INSERT INTO keys SELECT unnest($1::text[])", keys); err != nil {
		t.Errorf("as an index key: %v", err)
	}
}

// roundTrip checks that what jsonb gives back of a canonical document has that canonical form.
func roundTrip(t failer, conn *pgx.Conn, doc json.RawMessage) {
	var back []byte
	if err := conn.QueryRow(context.Background(), "SELECT $1::jsonb::text", string(doc)).Scan(&back); err != nil {
		t.Fatalf("jsonb refuses %.200s: %v", doc, err)
	}
	c, err := record.CanonicalJSON(back)
	if err != nil || !bytes.Equal(c, doc) {
		t.Fatalf("%.300s\ncame back as\n%.300s\nwhich is\n%.300s, %v", doc, back, c, err)
	}
}

type failer interface{ Fatalf(string, ...any) }

// drawJSON draws any document, written in any way.
func drawJSON(t *rapid.T, depth int) string {
	texts := rapid.Map(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\u2028", "\x7f", "\\u0000", "😀", `"`})), func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	})
	n := 6
	if depth == 0 {
		n = 4
	}
	switch rapid.IntRange(0, n-1).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{"null", "true", "false", `"\u0000"`, `"\ud800"`}).Draw(t, "literal")
	case 1:
		return texts.Draw(t, "text")
	case 2:
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
	case 3:
		return rapid.SampledFrom([]string{"1e15999", "-1e-16000", "1." + strings.Repeat("9", 15_999), "9e-15999", "0e9999999"}).Draw(t, "extreme")
	case 4:
		var list []string
		for range rapid.IntRange(0, 4).Draw(t, "length") {
			list = append(list, drawJSON(t, depth-1))
		}
		return "[" + strings.Join(list, " , ") + "]"
	}
	var members []string
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		members = append(members, texts.Draw(t, "key")+":"+drawJSON(t, depth-1))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestJsonbGivesBackTheCanonicalForm(t *testing.T) {
	conn := connect(t)
	rapid.Check(t, func(t *rapid.T) {
		in := drawJSON(t, 3)
		doc, err := record.CanonicalJSON([]byte(in))
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		roundTrip(t, conn, doc)
	})
	nested := json.RawMessage(strings.Repeat("[", record.MaxJSONDepth) + strings.Repeat("]", record.MaxJSONDepth))
	roundTrip(t, conn, nested)
}

func TestStoredMessagesSurviveJsonb(t *testing.T) {
	conn := connect(t)
	changes, rejects := run(t, record.Object{Kind: record.KindConversation, Body: []byte(part(`"body":"<p>a \"b\" \\ \u2028 é 😀</p>","created_at":1700000000.25,"attachments":[{"name":"a","url":"https://x.example/a?b","filesize":9}]`))})
	if len(rejects) > 0 {
		t.Fatal(rejects)
	}
	r := changes[0].Transcript
	var back []byte
	if err := conn.QueryRow(context.Background(), "SELECT $1::jsonb::text", string(r.MessagesJSON)).Scan(&back); err != nil {
		t.Fatal(err)
	}
	got, err := record.ParseMessages(back)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Messages {
		r.Messages[i].AuthorEmail = "" // not stored
	}
	if diff := cmp.Diff(r.Messages, got); diff != "" {
		t.Error(diff)
	}
	if again := record.AppendMessages(nil, got); !bytes.Equal(again, r.MessagesJSON) {
		t.Errorf("stored\n%s\nread and stored again\n%s", r.MessagesJSON, again)
	}
}
