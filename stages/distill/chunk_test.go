package distill

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// alphabets are what arbitrary texts are made of: every script, joiner and terminator that cutting
// could get wrong. None of them makes a line that cleaning takes for a quotation or signature.
var alphabets = [][]string{
	{"a", "word", "another", " ", " ", " ", ". ", "? ", "! ", ", ", "\n", "\n\n", "Mr. ", "e.g. ", "3.4.1 ", "https://example.com/a.b?c=d ", "… ", "...", "(x) "},
	{"请", "问", "发票", "在哪里", "。", "？", "！", "，", "ありがとう", "ございます", "한국어", " "},
	{"👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "🇫🇷", "1️⃣", " ", "ok", "! "},
	{"مرحبا", "أين", "الفاتورة", "؟ ", "שלום", "איפה", " ", ". ", "\u200f"},
	{"e\u0301", "n\u0303", "a\u0308\u0323\u0301", "หนึ่ง", "สอง", "नमस्ते", "। ", "க்ஷ", " "},
	{"x", "y", "z"}, // no space at all
	{"z", "\u0301", "\u0301", "\u0301", "\u0301"},
	{" ", "\t", "\n", "  ", "a", "\u00a0"},
}

func arbitraryText(t *rapid.T, label string) string {
	n := rapid.IntRange(0, 4).Draw(t, label+" parts")
	var b strings.Builder
	for range n {
		pieces := rapid.SampledFrom(alphabets).Draw(t, label+" alphabet")
		size := rapid.SampledFrom([]int{1, 5, 40, 200, 800}).Draw(t, label+" size")
		// A few drawn numbers, not one a piece, so that huge texts are cheap to make.
		step, at := rapid.IntRange(1, 97).Draw(t, label+" step"), rapid.IntRange(0, 96).Draw(t, label+" at")
		for k := range size {
			b.WriteString(pieces[(at+k*step+k*k/7)%len(pieces)])
		}
	}
	return b.String()
}

func arbitraryConversation(t *rapid.T) *record.TranscriptRow {
	var messages []record.Message
	for i := range rapid.IntRange(1, 5).Draw(t, "messages") {
		m := user(arbitraryText(t, fmt.Sprint("text ", i)))
		if rapid.Bool().Draw(t, "agent") {
			m = agent(m.Text)
		}
		messages = append(messages, m)
	}
	return conversation(messages...)
}

const testHeader = "Customer: Ann Example <ann@example.com>\nCompany: Acme\nDate: 2026-03-02\n\n"

func TestChunksOfAnyConversation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := arbitraryConversation(t)
		rows := process2(t, row)
		checkChunks(t, row, rows)
		for _, r := range rows {
			checkQuotes(t, row, r)
		}
	})
}

func process2(t *rapid.T, row *record.TranscriptRow) []record.KnowledgeRow {
	in := []record.Change{{Transcript: row}}
	res, err := New(Config{}).Process(t.Context(), in)
	if err != nil || res.Counts["distill/failed"] > 0 || res.Counts["distill/ungrounded"] > 0 {
		t.Fatalf("%v, %v", err, res.Counts)
	}
	return res.Items[0].Knowledge
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func checkChunks(t fataler, row *record.TranscriptRow, rows []record.KnowledgeRow) {
	t.Helper()
	var parents, children []record.KnowledgeRow
	for _, r := range rows {
		if !utf8.ValidString(r.Content) || !utf8.ValidString(r.Title) || utf8.RuneCountInString(r.Title) > 80 {
			t.Fatalf("%s: broken text or title %q", r.Kind, r.Title)
		}
		switch r.Kind {
		case record.KnowledgeParent:
			parents = append(parents, r)
		case record.KnowledgeChild:
			children = append(children, r)
		}
	}
	for i, p := range parents {
		if p.ChunkIndex != i {
			t.Fatalf("parent %d has index %d", i, p.ChunkIndex)
		}
		if n := utf8.RuneCountInString(p.Content); n > 2200 {
			t.Fatalf("parent of %d characters", n)
		}
		if len(p.SourceMessageIDs) == 0 {
			t.Fatalf("parent %d has no sources", i)
		}
	}
	rest := children
	for _, p := range parents {
		n := slices.IndexFunc(rest, func(c record.KnowledgeRow) bool { return c.ParentID != p.ID })
		if n < 0 {
			n = len(rest)
		}
		checkChildren(t, p, rest[:n], len(children)-len(rest))
		rest = rest[n:]
	}
	if len(rest) > 0 {
		t.Fatalf("%d children without a parent", len(rest))
	}
	checkCoverage(t, row, parents)
}

// checkChildren checks that children are parts of their parent that begin with it, overlap and end
// with it.
func checkChildren(t fataler, p record.KnowledgeRow, children []record.KnowledgeRow, first int) {
	t.Helper()
	if len(children) == 0 {
		t.Fatalf("parent %d has no children", p.ChunkIndex)
	}
	clusters, longest := boundaries(p.Content)
	// Where a text repeats itself a child may be in several places: all are followed.
	ends := map[int]bool{}
	for i, c := range children {
		if c.ChunkIndex != first+i {
			t.Fatalf("child %d has index %d", first+i, c.ChunkIndex)
		}
		if n := utf8.RuneCountInString(c.Content); n > 560 || n == 0 {
			t.Fatalf("child of %d characters", n)
		}
		next := map[int]bool{}
		for at := -1; ; {
			n := strings.Index(p.Content[at+1:], c.Content)
			if n < 0 {
				break
			}
			at += 1 + n
			whole := longest > 400 || clusters[at] && clusters[at+len(c.Content)]
			if !whole {
				continue
			}
			if i == 0 && at == 0 {
				next[len(c.Content)] = true
			}
			for end := range ends {
				if i > 0 && at < end && at+len(c.Content) > end {
					next[at+len(c.Content)] = true
				}
			}
		}
		if len(next) == 0 {
			t.Fatalf("child %d of %d is not a part of its parent that overlaps with the one before it and cuts no character:\n%q\nin\n%q", i, len(children), c.Content, p.Content)
		}
		ends = next
	}
	if !ends[len(p.Content)] {
		t.Fatalf("the last child does not end with its parent")
	}
}

// boundaries are the byte offsets between grapheme clusters, and the runes of the longest cluster.
func boundaries(s string) (map[int]bool, int) {
	at := map[int]bool{0: true}
	longest, pos := 0, 0
	g := uniseg.NewGraphemes(s)
	for g.Next() {
		pos += len(g.Bytes())
		at[pos] = true
		longest = max(longest, len(g.Runes()))
	}
	return at, longest
}

func isBlank(r rune) bool { return unicode.IsSpace(r) || r < ' ' }

// checkCoverage checks that the parents' bodies tell all messages, every character but white space, in
// order, each behind a label, and are cut between grapheme clusters.
func checkCoverage(t fataler, row *record.TranscriptRow, parents []record.KnowledgeRow) {
	t.Helper()
	type place struct{ parent, at int }
	p := place{at: len(testHeader)}
	for i := range parents {
		if !strings.HasPrefix(parents[i].Content, testHeader) {
			t.Fatalf("parent begins with %q", parents[i].Content[:min(90, len(parents[i].Content))])
		}
	}
	skip := func() {
		for p.parent < len(parents) {
			c := parents[p.parent].Content
			for p.at < len(c) {
				r, n := utf8.DecodeRuneInString(c[p.at:])
				if !isBlank(r) {
					return
				}
				p.at += n
			}
			return
		}
	}
	take := func(s string) {
		if p.parent >= len(parents) || !strings.HasPrefix(parents[p.parent].Content[p.at:], s) {
			t.Fatalf("parents do not go on with %q at %+v", s, p)
		}
		p.at += len(s)
	}
	for _, m := range row.Messages {
		if strings.TrimFunc(m.Text, isBlank) == "" {
			continue
		}
		name := "Customer"
		if m.Speaker == record.SpeakerAgent {
			name = "Agent (Bea)"
		}
		clusters, longest := boundaries(m.Text)
		began := false
		for at, r := range m.Text {
			if isBlank(r) {
				continue
			}
			skip()
			if p.parent < len(parents) && p.at == len(parents[p.parent].Content) {
				p = place{p.parent + 1, len(testHeader)}
				if began {
					take(name + ", continued: ")
					skip()
					before, _ := utf8.DecodeLastRuneInString(m.Text[:at])
					if !clusters[at] && longest < 400 && !isBlank(before) {
						t.Fatalf("a character is cut before %q", m.Text[at:min(len(m.Text), at+20)])
					}
				}
			}
			if !began {
				take(name + ": ")
				skip()
				began = true
			}
			take(string(r))
		}
	}
	skip()
	if len(parents) > 0 && (p.parent != len(parents)-1 || p.at != len(parents[p.parent].Content)) {
		t.Fatalf("parents have more than the messages: %+v of %d", p, len(parents))
	}
}

func TestParentsAreCutBetweenTurnsOrSentences(t *testing.T) {
	var messages []record.Message
	for i := range 30 {
		text := strings.Repeat(fmt.Sprintf("This is sentence of message %d, which says little. ", i), 4)
		if i%2 == 0 {
			messages = append(messages, user(text))
		} else {
			messages = append(messages, agent(text))
		}
	}
	rows := process(t, Config{}, conversation(messages...)).Items[0].Knowledge
	checkChunks(t, conversation(messages...), rows)
	parents := 0
	for _, r := range rows {
		switch r.Kind {
		case record.KnowledgeParent:
			parents++
			if n := len(r.Content); n < 1400 && r.ChunkIndex < 3 {
				t.Errorf("parent %d has %d characters only", r.ChunkIndex, n)
			}
			if strings.Contains(r.Content, "continued") {
				t.Errorf("parent %d cuts a turn that fits", r.ChunkIndex)
			}
		case record.KnowledgeChild:
			if !strings.HasSuffix(r.Content, ".") {
				t.Errorf("child ends inside a sentence: %q", r.Content)
			}
			if !strings.HasPrefix(r.Content, "This") && !strings.HasPrefix(r.Content, "Customer:") && !strings.HasPrefix(r.Content, "Agent") {
				t.Errorf("child begins inside a sentence: %q", r.Content)
			}
		}
	}
	if parents != 4 {
		t.Errorf("%d parents", parents)
	}
}

func TestAMessageThatBeginsInsideACharacter(t *testing.T) {
	// The overlap of the second child would begin behind the agent's label, with the mark.
	row := conversation(user(strings.Repeat("Fine. ", 42)), agent("\u0301"+strings.Repeat("x", 59)), user(strings.Repeat("word ", 120)))
	checkChunks(t, row, process(t, Config{}, row).Items[0].Knowledge)
}

func TestAHugeMessageWithoutSpaces(t *testing.T) {
	for name, piece := range map[string]string{"letters": "x", "ideographs": "字", "emoji families": "👩‍👩‍👧‍👦", "one cluster": "\u0301"} {
		t.Run(name, func(t *testing.T) {
			row := conversation(user("a" + strings.Repeat(piece, 5_000)))
			rows := process(t, Config{}, row).Items[0].Knowledge
			checkChunks(t, row, rows)
			if len(rows) < 10 {
				t.Errorf("%d rows", len(rows))
			}
		})
	}
}

func FuzzProcess(f *testing.F) {
	f.Add("Hello. My printer fails!", "Hi Ann, please restart it. /BE", "Thanks 👍🏽")
	f.Add("請問發票在哪裡？", "On Mon, 2 Mar 2026, Ann <a@b.c> wrote:\n> secret", "-- \nAnn")
	f.Add("\xff\x00. \u0301", "Von: A\nGesendet: B\nAn: C", "@x ^AB https://t.co/1 1/2")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		row := conversation(user(a), agent(b), user(c))
		res := process(t, Config{}, row)
		if res.Counts["distill/failed"]+res.Counts["distill/ungrounded"] > 0 {
			t.Fatal(res.Counts)
		}
		for _, r := range res.Items[0].Knowledge {
			checkQuotes(t, row, r)
			if n := utf8.RuneCountInString(r.Content); r.Kind == record.KnowledgeParent && n > 2200 || r.Kind == record.KnowledgeChild && n > 560 {
				t.Fatalf("%s of %d characters", r.Kind, n)
			}
		}
	})
}
