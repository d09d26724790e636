package cutover

import (
	"bytes"
	"encoding/csv"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/browsertest"
	"haloingest/sinks/postgres"
)

var update = flag.Bool("update", false, "write the golden files anew")

// styled matches what all pages share and is changed for all of them: the style, and its hash.
var styled = regexp.MustCompile(`(?s)(<style>|sha256-).*?(</style>|'; img-src)`)

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	got = styled.ReplaceAll(got, []byte("${1}THE STYLE$2"))
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got); if it is as it should be, run: go test ./cmd/haloingest/internal/cutover -update\n%s", name, diff)
	}
}

// done is a checklist of a migration that is done.
func done() Checklist {
	e := good()
	e.Attachments = Inventory{Wanted: true, Files: 1_204, Saved: 1_190, SavedBytes: 3 << 30, Gone: 14}
	e.Cut, e.Incomplete = 2, []Incomplete{{SourceID: "215400000000187", Held: 500, Expected: 754, Cut: true}, {SourceID: "215400000000190", Held: 500, Cut: true}}
	e.Proofs = map[record.UUID]Proof{e.Diffs[0].ID: {
		ID: e.Diffs[0].ID, Left: "intercom", Right: "postgres", Level: "full", Verdict: "equal", Sentence: "SAFE TO DISCONNECT: all 29,721 objects of intercom are in postgres as they should be",
		StartedAt: e.Diffs[0].StartedAt, FinishedAt: e.Diffs[0].FinishedAt, SHA256: strings.Repeat("4020d1ad4a0f11e7", 4),
	}}
	e.Diffs[0].Sentence = e.Proofs[e.Diffs[0].ID].Sentence
	e.Connection.HasWebhookSecret, e.Inbox = false, Inbox{}
	return Judge(e, Options{Program: "haloingest 1.2.3"})
}

// undone is one of which hardly anything is true.
func undone() Checklist {
	e := good()
	e.Connection.LastSyncedAt, e.Connection.SyncedTo = ago(27*time.Hour), ago(28*time.Hour)
	e.Walks = e.Walks[:2]
	e.Unfinished = &postgres.RunInfo{State: postgres.RunFailed, StartedAt: ago(time.Hour), Error: "skipped conversations", Streams: []postgres.StreamInfo{{Stream: "conversations", Skipped: "the token may not read conversations"}}}
	e.Inbox = Inbox{Received: 12, Open: 3, Failed: 1, Newest: ago(time.Minute), OldestOpen: ago(2 * time.Hour), Error: "read conversation 5: 500"}
	e.Rejects = []postgres.RejectCount{{Kind: "conversation", Stage: "extract", Field: "conversation_parts", Reason: "want a list, got a string", Open: 3}}
	e.Unexplained, e.Cut = 1, 1
	e.Incomplete = []Incomplete{{SourceID: "7", Held: 3, Expected: 5}, {SourceID: "9", Held: 500, Expected: 501, Cut: true}}
	e.Attachments = Inventory{Wanted: true, Files: 10, Saved: 6, SavedBytes: 1 << 20, Failed: 1, Unasked: 2, Gone: 1, Bytes: 5 << 20}
	e.Missed = map[string]error{Links: errors.New("count links that wait: ERROR: permission denied for table pending_links (SQLSTATE 42501)")}
	e.Snapshots = nil
	e.Diffs[0].Verdict, e.Diffs[0].Sentence = "different", "NOT SAFE: 50 missing, 50 changed (email 50), 3 unverified"
	return Judge(e, Options{Program: "haloingest 1.2.3"})
}

// hostile is one whose names are made to do harm.
func hostile() Checklist {
	bad := []string{
		`<script>window.harm=1</script>`, `"><img src=x onerror="window.harm=1">`, `</style><script>window.harm=1</script>`, "\u202egnp.exe", strings.Repeat("long", 2_500),
		"👩‍👩‍👧‍👦 العربية", "nul\x00here", "=cmd|' /C calc'!A0", "bad \xff bytes", "{{.Org}}", `<svg onload=window.harm=1>`,
	}
	e := good()
	e.Connection.Workspace.Name, e.Connection.Workspace.ID, e.Connection.TokenHint = bad[0]+bad[4], bad[1], bad[2]
	e.Status.Lease = &postgres.LeaseInfo{Alive: true, Holder: strings.Join(bad[:4], " ")}
	e.Status.Run = &postgres.RunInfo{Kind: bad[10], State: postgres.RunRunning}
	e.Inbox = Inbox{Open: 1, Failed: 1, Error: bad[1] + bad[4]}
	var streams []postgres.StreamInfo
	for _, text := range bad {
		e.Rejects = append(e.Rejects, postgres.RejectCount{Kind: text, Field: text, Reason: text, Open: 1})
		e.Incomplete = append(e.Incomplete, Incomplete{SourceID: text, Held: 1})
		e.Snapshots = append(e.Snapshots, Kept{Location: text})
		streams = append(streams, postgres.StreamInfo{Stream: text, Skipped: text})
	}
	e.Walks, e.Unfinished = nil, &postgres.RunInfo{State: postgres.RunState("failed"), Error: bad[1], Streams: streams}
	e.Unexplained = int64(len(bad))
	e.Missed = map[string]error{Links: errors.New(bad[2] + "\n" + bad[4])}
	e.Diffs[0].Sentence = bad[0] + bad[4]
	e.Proofs = map[record.UUID]Proof{e.Diffs[0].ID: {Left: bad[1], Right: bad[3], Sentence: bad[0] + bad[4]}}
	e.Attachments = Inventory{Files: 1, Unasked: 1}
	return Judge(e, Options{Program: bad[1]})
}

func TestChecklistsReadAsTheyDid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Checklist{"done": done(), "undone": undone()} {
		for ext, show := range map[string]func(io.Writer, Checklist) error{"txt": Text, "html": HTML, "json": JSON} {
			var b bytes.Buffer
			if err := show(&b, c); err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+ext, b.Bytes())
		}
	}
}

// A person reads the end of it last, and that is the verdict.
func TestTheTextEndsInTheVerdict(t *testing.T) {
	t.Parallel()
	for begin, c := range map[string]Checklist{"SAFE to disconnect Intercom.": done(), "NOT SAFE to disconnect Intercom.": undone()} {
		var b bytes.Buffer
		if err := Text(&b, c); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if !strings.HasPrefix(lines[len(lines)-1], begin) {
			t.Errorf("it ends in %q", lines[len(lines)-1])
		}
	}
}

func TestNothingOfATerminalIsMovedByNames(t *testing.T) {
	t.Parallel()
	c := hostile()
	var b bytes.Buffer
	if err := Text(&b, c); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexFunc(b.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x202a && r <= 0x202e }); i >= 0 {
		t.Errorf("a character that moves things: %q", b.String()[max(0, i-20):i+20])
	}
}

func TestPagesOfChecklistsAreSoundInARealBrowser(t *testing.T) {
	t.Parallel()
	browser := browsertest.New(t)
	dark, phone, print := browsertest.View{Dark: true}, browsertest.View{Width: 390, Height: 844, Mobile: true}, browsertest.View{Width: 680, Print: true}
	for _, x := range []struct {
		name  string
		c     Checklist
		views []browsertest.View
	}{{"done", done(), []browsertest.View{phone, print}}, {"undone", undone(), []browsertest.View{dark}}, {"hostile", hostile(), []browsertest.View{phone, print}}} {
		name, c := x.name, x.c
		file := filepath.Join(t.TempDir(), name+".html")
		var b bytes.Buffer
		if err := HTML(&b, c); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, v := range x.views {
			tab := browser.Open(browsertest.FileURL(file), v)
			for _, wrong := range append(tab.Faults(), tab.Business()...) {
				t.Errorf("%s, %+v: %s", name, v, wrong)
			}
			if browsertest.Eval[bool](tab, "window.harm !== undefined") {
				t.Errorf("%s, %+v: a script ran", name, v)
			}
			if v.Print {
				if pdf := tab.PDF(); len(pdf) < 10_000 {
					t.Errorf("%s: it does not print", name)
				}
				if lines := browsertest.Eval[string](tab, `[...document.querySelectorAll(".sign span")].map(e => e.textContent).join(", ")`); !strings.HasPrefix(lines, "Name, Date, Signature") {
					t.Errorf("%s: there is nowhere to sign: %q", name, lines)
				}
			}
			tab.Close()
		}
	}
}

func TestTheFolderOfAChecklistIsWholeAndHarmless(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "report")
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []postgres.Attachment{
		{Kind: record.KindConversation, SourceID: "1", MessageID: "m", Name: "=HYPERLINK(\"x\")", ContentType: "text/plain", Size: 5, URL: "https://x/y", Path: "aa/bb", Bytes: 5, SHA256: "cc", Known: true, SavedAt: now},
		{Kind: record.KindTicket, SourceID: "+2", Name: "a,\"b\"\nc", Gone: true},
		{Kind: record.KindTicket, SourceID: "3", Known: true, Error: "-404"},
		{Kind: record.KindTicket, SourceID: "4"},
	} {
		if err := w.Attachment(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Incomplete(Incomplete{SourceID: "@9", Held: 500, Expected: 700, Cut: true}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Close(done()); err != nil || got != dir {
		t.Fatalf("%s, %v", got, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"SHA256SUMS", AttachmentsFile, HTMLFile, JSONFile, TextFile, IncompleteFile}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	read := func(name string) [][]string {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows[1:]
	}
	want := [][]string{
		{"conversation", "1", "m", "0", "'=HYPERLINK(\"x\")", "text/plain", "5", "https://x/y", "saved", "aa/bb", "5", "cc", "", "2026-11-20T12:00:00Z"},
		{"ticket", "'+2", "", "0", "a,\"b\"\nc", "", "", "", "gone", "", "", "", "", ""},
		{"ticket", "3", "", "0", "", "", "", "", "not saved", "", "", "", "'-404", ""},
		{"ticket", "4", "", "0", "", "", "", "", "never asked for", "", "", "", "", ""},
	}
	if diff := cmp.Diff(want, read(AttachmentsFile)); diff != "" {
		t.Errorf("attachments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"'@9", "500", "700", "true"}}, read(IncompleteFile)); diff != "" {
		t.Errorf("incomplete conversations (-want +got):\n%s", diff)
	}
}
