package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

func id(tb testing.TB, s string) record.UUID {
	tb.Helper()
	u, err := record.ParseUUID(s)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

var at = time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)

// equal is the report of a migration that is whole.
func equal(tb testing.TB) diff.Report {
	r := diff.Report{
		Version: diff.ReportVersion, ID: id(tb, "5f1c0e7a-83f5-4b0e-9a5c-3b1f0f7f6a11"), Org: id(tb, "6f1b2a34-5c6d-4e7f-8a9b-0c1d2e3f4a5b"),
		Left: "intercom", Right: "postgres", Level: diff.LevelFull, Watermark: at, StartedAt: at, FinishedAt: at.Add(7*time.Minute + 12*time.Second),
		Verdict: diff.VerdictEqual, Requests: 204_118, BytesRead: 911 << 20, PeakSpill: 340 << 20,
		Checks: []diff.Check{
			{Name: "conversations by Intercom's own count", Want: 182_340, Got: 182_340},
			{Name: "parts of conversations by Intercom's statistics", Want: 1_904_112, Got: 1_904_112, Detail: "redacted parts are counted there, too"},
		},
	}
	for _, e := range []struct {
		name string
		n    int64
		cols []string
	}{
		{"companies", 4_120, []string{"name", "plan", "custom_fields"}},
		{"end_users", 96_233, []string{"external_id", "email", "name", "custom_fields", "company_id"}},
		{"transcripts", 182_340, []string{"subject", "messages", "status", "metadata"}},
		{"tickets", 8_812, []string{"subject", "status", "metadata"}},
		{"knowledge", 171_002, []string{"content", "title"}},
	} {
		ent := diff.Entity{Name: e.name, Counts: diff.Counts{Source: e.n, Target: e.n, Matched: e.n}, Elapsed: time.Duration(e.n) * time.Millisecond / 2}
		for _, c := range e.cols {
			ent.Columns = append(ent.Columns, diff.Column{Name: c, Compared: e.n, Equal: e.n})
		}
		r.Entities = append(r.Entities, ent)
	}
	r.Sentence = "SAFE TO DISCONNECT: all 462,507 objects of intercom are in postgres as they should be"
	return r
}

// different is the report of one that is not.
func different(tb testing.TB) diff.Report {
	r := equal(tb)
	r.Verdict = diff.VerdictDifferent
	r.Notes = []string{"Attachments are compared by name, type and size; their contents are not.", "12 conversations are longer than Intercom gives out (500 parts)."}
	r.Checks[0].Got = 182_333
	users := &r.Entities[1]
	users.Counts = diff.Counts{
		Source: 96_233, Target: 96_190, Matched: 96_093, ByRule: 214, Changed: 50, Missing: 50, Extra: 7, InFlight: 11, InFlightTarget: 11,
		Converged: 11, Unverified: 29, Unresolved: 3, UnresolvedTarget: 29, Rejected: map[string]int64{"custom_attributes: want an object": 2}, Excluded: map[string]int64{"merged into another contact": 24},
	}
	users.Columns = append(users.Columns, diff.Column{Name: "created_at", NotCompared: "the database sets it"})
	users.Columns[0].EqualByRule = map[string]int64{"one row for several contacts": 214}
	for i := range users.Columns {
		c := &users.Columns[i]
		c.Compared = 96_143
		switch c.Name {
		case "email":
			c.Different = 50
		case "custom_fields":
			c.Different = 3
		case "external_id":
			c.Equal -= 214
		}
		c.Equal = c.Compared - c.Different - sum(c.EqualByRule)
	}
	for i := range 20 {
		users.Samples = append(users.Samples, diff.Finding{
			Entity: "end_users", SourceID: fmt.Sprintf("64e8c0a1f2%014x", i*7919), Class: diff.Changed, Cause: "loaded but different",
			LeftAt: at.Add(-time.Duration(i) * 31 * time.Hour), RightAt: at.Add(-time.Duration(i) * 31 * time.Hour),
			Cells: []diff.Cell{{Column: "email", Left: "text of 24 characters, 5f3a9c01", Right: "text of 22 characters, 88d1e7f0"}},
		})
		users.Samples = append(users.Samples, diff.Finding{Entity: "end_users", SourceID: fmt.Sprintf("64e8c0a1f3%014x", i*104729), Class: diff.Missing, Cause: "never loaded", LeftAt: at.Add(-time.Duration(i) * 77 * time.Minute)})
	}
	users.Samples[2].Cells = append(users.Samples[2].Cells, diff.Cell{Column: "custom_fields", Path: "plan", Left: `{"plan": text of 3 characters, 0a11c2d3, "seats": 25}`, Right: "NULL"})
	users.Samples = append(users.Samples,
		diff.Finding{Entity: "end_users", SourceID: "64e8c0a1f4", Class: diff.Extra, Cause: "deleted at Intercom since it was loaded", RightAt: at.Add(-time.Hour)},
		diff.Finding{Entity: "end_users", SourceID: "64e8c0a1f5", Class: diff.Unresolved, Cause: "it kept changing", Rounds: 5, LeftAt: at.Add(time.Minute), RightAt: at},
		diff.Finding{Entity: "end_users", SourceID: "64e8c0a1f6", Class: diff.InFlight, Cause: "changed after the watermark", Rounds: 1, Converged: true, LeftAt: at.Add(time.Minute), RightAt: at.Add(time.Minute)},
		diff.Finding{Entity: "end_users", SourceID: "64e8c0a1f7", Class: diff.Rejected, Cause: "custom_attributes: want an object"},
		diff.Finding{Entity: "end_users", SourceID: "64e8c0a1f8", Class: diff.Excluded, Cause: "merged into another contact"},
	)
	talks := &r.Entities[2]
	talks.Counts = diff.Counts{Source: 182_340, Target: 182_333, Matched: 182_333, Missing: 7}
	r.Sentence = "NOT SAFE: 57 missing, 7 extra, 50 changed (email 50, custom_fields 3), 2 rejected, 29 unverified"
	return r
}

func sum(m map[string]int64) (n int64) {
	for _, k := range m {
		n += k
	}
	return n
}

// hostile is a report whose every text comes from somebody who wants harm.
func hostile(tb testing.TB) diff.Report {
	r := different(tb)
	bad := []string{
		`<script>window.harm=1;alert("harm")</script>`, `"><img src=x onerror="window.harm=1">`, `'};window.harm=1;//`, `</style><script>window.harm=1</script>`,
		`javascript:window.harm=1`, "\u202egnp.exe\u202c", "a\u2066\u2067\u2068b", strings.Repeat("long", 2_500), strings.Repeat("word ", 2_000), "👩‍👩‍👧‍👦🏴‍☠️ naïve 漢字 العربية עברית",
		"nul\x00in the middle", "line\nbreak\ttab\r", "\x1b[31mred\x1b[0m", "bad \xff\xfe bytes", `{{.Org}} {{template "body"}}`, "<!--", "]]>", "&lt;b&gt;&amp;", `<svg onload=window.harm=1>`,
		"=HYPERLINK(\"http://harm.example\",\"click\")", "http://harm.example/pixel.png", strings.Repeat("z\u0335\u0301\u0302", 40),
	}
	r.Left = "snapshot:/data/" + bad[0] + bad[1] + bad[5]
	r.Sentence = "DIFFERENT: " + bad[3] + bad[7]
	r.Only = bad[:3]
	r.ShowValues = true
	for i, text := range bad {
		r.Notes = append(r.Notes, text)
		r.Checks = append(r.Checks, diff.Check{Name: text, Want: int64(i), Got: 1, Detail: text})
		e := &r.Entities[1]
		e.Columns = append(e.Columns, diff.Column{Name: text, Compared: 10, Different: int64(i), EqualByRule: map[string]int64{text: 3}})
		e.Samples = append(e.Samples, diff.Finding{Entity: text, SourceID: text, RowID: text, Class: diff.Changed, Cause: text, Cells: []diff.Cell{{Column: text, Path: text, Left: text, Right: text}}})
		e.Counts.Rejected[text] = int64(i)
		e.Counts.Source += int64(i)
	}
	r.Entities = append(r.Entities, diff.Entity{Name: bad[1], Counts: diff.Counts{Source: 5, Target: 3, Matched: 4}})
	return r
}
