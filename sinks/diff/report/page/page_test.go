package page_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"haloingest/sinks/diff/report/page"
)

func TestNumbersAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{page.Count(0), "0"}, {page.Count(999), "999"}, {page.Count(1000), "1,000"}, {page.Count(-1234567), "-1,234,567"}, {page.Count(math.MaxInt64), "9,223,372,036,854,775,807"},
		{page.Plural(1, "object"), "1 object"}, {page.Plural(0, "object"), "0 objects"}, {page.Plural(2000, "delivery"), "2,000 deliveries"}, {page.Plural(2, "day"), "2 days"},
		{page.Share(0, 0), "–"}, {page.Share(0, 5), "0 %"}, {page.Share(5, 5), "100 %"}, {page.Share(1, 2), "50 %"}, {page.Share(1, 3), "33.33 %"},
		{page.Share(999_999, 1_000_000), "99.99 %"}, {page.Share(1, 1_000_000), "< 0.01 %"}, {page.Share(math.MaxInt64-1, math.MaxInt64), "99.99 %"},
		{page.Size(0), "0 B"}, {page.Size(1023), "1023 B"}, {page.Size(1536), "1.5 KiB"}, {page.Size(5 << 40), "5.0 TiB"},
		{page.Span(-time.Second), "0 s"}, {page.Span(1500 * time.Millisecond), "1.5 s"}, {page.Span(90 * time.Second), "90 s"}, {page.Span(time.Hour), "60 min"}, {page.Span(72 * time.Hour), "3.0 days"},
		{page.Moment(time.Time{}), "–"}, {page.Moment(time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("", 3600))), "2026-03-04 04:06:07 UTC"},
		{page.Capital("éa"), "Éa"}, {page.Capital("Abc"), "Abc"}, {page.Capital(""), ""}, {page.Capital("3x"), "3x"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestTextsFromOutsideAreMadeVisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "",
		"naïve 漢字 👩‍👩‍👧 עברית": "naïve 漢字 👩‍👩‍👧 עברית",
		"a\x00b":         "ab",
		"a\nb\tc\rd":     "a b c d",
		"\x1b[2J":        "‹U+001B›[2J",
		"\u202eexe":      "‹U+202E›exe",
		"a\u2066b\u2069": "a‹U+2066›b‹U+2069›",
		"a\u200bb\ufeff": "a‹U+200B›b‹U+FEFF›",
		"\u2028":         "‹U+2028›",
		"a\xffb\ufffdc":  "a‹not UTF-8›b\ufffdc",
		"\ue000":         "‹U+E000›",
	} {
		if got := page.Visible(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	long := strings.Repeat("ä", 10_000)
	if got := page.Visible(long); got != strings.Repeat("ä", 300)+"… (10,000 characters)" {
		t.Errorf("a long text becomes %q", got)
	}
	if got := page.Short("snapshot:/data", 14); got != "snapshot:/data" {
		t.Error(got)
	}
	if got := page.Short("snapshot:/data/more", 14); got != "snapshot:/dat…" {
		t.Error(got)
	}
}

// Whatever comes in, what goes out moves no cursor, turns no line around and has a bounded length.
func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "a", "\x00", "\u202e", "\xff\xfe", "👩‍👩‍👧", strings.Repeat("x", 400)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := page.Visible(s)
		if !utf8.ValidString(got) {
			t.Errorf("%q becomes what is not UTF-8: %q", s, got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool {
			return unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		}); i >= 0 {
			t.Errorf("%q becomes %q", s, got)
		}
		if n := utf8.RuneCountInString(got); n > 300*12+40 {
			t.Errorf("%d characters", n)
		}
	})
}

// No cell is a formula, and what it was can be told from it.
func FuzzCell(f *testing.F) {
	for _, s := range []string{"=1", " =1", "\t=1", "＝1", "'=1", "-5", "plain", "\x00=", "\ufeff=1", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := page.Cell(s)
		if rest := strings.TrimLeft(got, " \u00a0\u3000\ufeff"); rest != "" && strings.ContainsRune("=+-@\t\r＝＋－＠", []rune(rest)[0]) {
			t.Errorf("%q becomes %q", s, got)
		}
		if strings.TrimPrefix(got, "'") != strings.TrimPrefix(strings.ReplaceAll(s, "\x00", ""), "'") {
			t.Errorf("%q becomes %q", s, got)
		}
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		if err := w.Write([]string{got, "x"}); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		row, err := csv.NewReader(&b).Read()
		if err != nil || len(row) != 2 {
			t.Errorf("%q is not read back: %q, %v", got, row, err)
		}
	})
}

// A bar shows every part that is not zero, in order, without gaps, within its length; a part never looks longer than a larger one.
func TestABarShowsAllItsParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var parts []page.Part
		var sum int64
		for i, n := range rapid.SliceOfN(rapid.OneOf(rapid.Just[int64](0), rapid.Int64Range(1, 100), rapid.Int64Range(1, 1<<50), rapid.Int64Range(1000, 1010)), 0, 12).Draw(t, "parts") {
			parts = append(parts, page.Part{Class: "matched", Label: fmt.Sprint("part ", i), N: n})
			sum += n
		}
		scale := rapid.Int64Range(0, 1<<54).Draw(t, "scale")
		s := page.NewStack("bar", scale, parts...)
		i, x := 0, 0
		for _, p := range parts {
			if p.N == 0 {
				continue
			}
			seg := s.Segments[i]
			if seg.N != p.N || seg.Label != p.Label || seg.X != x || seg.Width < 5 {
				t.Fatalf("segment %d of %+v: %+v at %d", i, parts, seg, x)
			}
			x += seg.Width
			i++
		}
		if i != len(s.Segments) || x > 1000 {
			t.Fatalf("%d of %d segments, length %d", i, len(s.Segments), x)
		}
		for _, a := range s.Segments {
			for _, b := range s.Segments {
				if a.N >= b.N && a.Width < b.Width-1 {
					t.Fatalf("%d looks shorter than %d: %+v", a.N, b.N, s.Segments)
				}
			}
		}
		if sum == 0 && !strings.HasSuffix(s.Label, ": none") {
			t.Fatalf("label %q", s.Label)
		}
	})
}

func TestAPageIsWholeAndEscaped(t *testing.T) {
	t.Parallel()
	p, err := page.New("x", `{{define "body"}}<p title="{{.}}">{{.}} {{count 1234}}</p>{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Render(&b, `</title><script>`, `"><script>alert(1)</script>`); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if strings.Contains(got, "<script") || !strings.Contains(got, "1,234") || !strings.HasPrefix(got, "<!doctype html>") || !strings.Contains(got, "default-src &#39;none&#39;") && !strings.Contains(got, "default-src 'none'") {
		t.Error(got)
	}
	if _, err := page.New("y", `{{define "body"}}{{nonsense}}{{end}}`); err == nil || !strings.Contains(err.Error(), "page y") {
		t.Errorf("error %v", err)
	}
}
