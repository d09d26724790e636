package distill

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

var update = flag.Bool("update", false, "write what the distiller makes into the golden files")

const goldenMark = "=== knowledge\n"

// readGolden reads a conversation: "name: value" lines, then messages behind lines "[speaker]".
func readGolden(t *testing.T, text string) *record.TranscriptRow {
	t.Helper()
	head, body, ok := strings.Cut("\n"+text, "\n[")
	if !ok {
		t.Fatal("no message")
	}
	var messages []record.Message
	for part := range strings.SplitSeq(body, "\n[") {
		speaker, words, _ := strings.Cut(part, "]\n")
		words = strings.TrimSpace(words)
		var m record.Message
		switch speaker {
		case "user":
			m = user(words)
		case "agent":
			m = agent(words)
		case "bot":
			m = record.Message{Speaker: record.SpeakerBot, Text: words}
		case "note":
			m = agent(words)
			m.Kind = record.MessageNote
		default:
			t.Fatalf("unknown speaker %q", speaker)
		}
		messages = append(messages, m)
	}
	row := conversation(messages...)
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "subject":
			row.Subject = value
		case "state":
			row.Distill.State = value
		case "rating":
			row.Distill.RatingScore, _ = strconv.Atoi(value)
		}
	}
	return row
}

// TestGolden shows what is made of conversations in several languages. After a change, run it with
// -update and read the difference.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.txt"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, want, _ := strings.Cut(string(data), goldenMark)
			row := readGolden(t, given)
			var b strings.Builder
			for _, r := range process(t, Config{Org: record.UUID{1}}, row).Items[0].Knowledge {
				checkQuotes(t, row, r)
				fmt.Fprintf(&b, "\n%s %q of %s\n", r.Kind, r.Title, strings.Join(r.SourceMessageIDs, " "))
				if r.Kind == record.KnowledgeChild && strings.Contains(b.String(), r.Content[:min(40, len(r.Content))]) {
					fmt.Fprintf(&b, "  (%d bytes of the parent)\n", len(r.Content))
					continue
				}
				for line := range strings.SplitSeq(r.Content, "\n") {
					b.WriteString(strings.TrimRight("  "+line, " ") + "\n")
				}
				if strings.HasPrefix(string(r.Metadata), `{"basis":`) {
					b.WriteString("  by position and length\n")
				}
				if _, why, ok := strings.Cut(string(r.Metadata), `"evidence":`); ok {
					why, _, _ = strings.Cut(why, "]")
					b.WriteString("  because " + why + "]\n")
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(given+goldenMark+b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
