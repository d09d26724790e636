package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
	"haloingest/sinks/diff/report/folder"
)

var update = flag.Bool("update", false, "write the golden files anew")

// styled matches what all pages share and is changed for all of them: the style, and its hash.
var styled = regexp.MustCompile(`(?s)(<style>|sha256-).*?(</style>|'; img-src)`)

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
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
		t.Errorf("%s (-want +got); if it is as it should be, run: go test ./sinks/diff/report -update\n%s", name, diff)
	}
}

func TestReportsReadAsTheyDid(t *testing.T) {
	t.Parallel()
	partial := different(t)
	partial.Verdict, partial.Entities = diff.VerdictPartial, partial.Entities[:2]
	partial.Entities[1].Partial, partial.Entities[1].Counts.Matched = true, 50_000
	partial.Sentence = "NO VERDICT: the comparison did not come to its end (interrupted); until then: 50 missing, 7 extra, 50 changed (email 50), 2 rejected, 29 unverified"
	for name, r := range map[string]diff.Report{"equal": equal(t), "different": different(t), "partial": partial, "hostile": hostile(t)} {
		for ext, write := range map[string]func(io.Writer, diff.Report) error{"txt": report.Text, "html": report.HTML, "json": report.JSON} {
			if name == "hostile" && ext != "txt" { // its page is looked at in a browser
				continue
			}
			var b bytes.Buffer
			if err := write(&b, r); err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+ext, styled.ReplaceAll(b.Bytes(), []byte("${1}THE STYLE$2")))
		}
	}
}

func write(t *testing.T, dir string, r diff.Report, findings ...diff.Finding) report.Written {
	t.Helper()
	w, err := report.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	written, err := w.Close(r)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

var reportFiles = []string{"SHA256SUMS", "differences.csv", "differences.jsonl", "report.html", "report.json", "report.txt"}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestAReportAppearsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "new", "report")
	w, err := report.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		if err := w.Add(diff.Finding{Entity: "tickets", SourceID: fmt.Sprint(i), Class: diff.Missing}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("before it is closed there is %v", names(t, dir))
	}
	written, err := w.Close(equal(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reportFiles, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if written.Dir != dir || len(written.JSONSum()) != 64 || w.Added() != 10_000 {
		t.Errorf("written %+v, %d findings", written, w.Added())
	}

	// Another takes its place; what is beside it stays.
	if err := os.WriteFile(filepath.Join(dir, "my notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err = report.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Discard(); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), slices.Concat(reportFiles[:3], []string{"my notes"}, reportFiles[3:]); !slices.Equal(got, want) {
		t.Errorf("after a report was thrown away there is %q", got)
	}
	again := write(t, dir, different(t))
	if again.JSONSum() == written.JSONSum() {
		t.Error("the older report is still there")
	}
	if got := names(t, filepath.Dir(dir)); !slices.Equal(got, []string{"report"}) {
		t.Errorf("left behind: %q", got)
	}
	if got, want := names(t, dir), slices.Concat(reportFiles[:3], []string{"my notes"}, reportFiles[3:]); !slices.Equal(got, want) {
		t.Errorf("after another report there is %q", got)
	}
	check := exec.Command("sha256sum", "-c", "--strict", folder.Sums)
	if _, err := exec.LookPath("sha256sum"); err != nil {
		check = exec.Command("shasum", "-a", "256", "-c", folder.Sums)
	}
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), "OK") != 5 {
		t.Errorf("%v: %v\n%s", check.Args, err, out)
	}
}

func TestAFolderWithoutSumsHoldsNoReport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, equal(t))
	w, err := report.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	// A folder where a file has to go lets the second report fail in the middle.
	if err := os.Remove(filepath.Join(dir, report.HTMLFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, report.HTMLFile, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(equal(t)); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	if got := names(t, dir); slices.Contains(got, folder.Sums) || slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, ".") }) {
		t.Errorf("there is %q", got)
	}
}

func TestAReportThatCannotBeWrittenSaysWhere(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := report.Create(dir); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v", dir, err)
		}
	}
}

func TestFindingsAreThereInFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := hostile(t)
	var findings []diff.Finding
	for _, e := range r.Entities {
		findings = append(findings, e.Samples...)
	}
	write(t, dir, r, findings...)
	data, err := os.ReadFile(filepath.Join(dir, report.LinesFile))
	if err != nil {
		t.Fatal(err)
	}
	var got []diff.Finding
	for line := range bytes.Lines(data) {
		var f diff.Finding
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	for i, f := range findings { // what is not UTF-8 cannot be in JSON
		text := func(s string) string { return strings.ToValidUTF8(s, "\ufffd\ufffd") }
		f.Entity, f.SourceID, f.RowID, f.Cause = text(f.Entity), text(f.SourceID), text(f.RowID), text(f.Cause)
		f.Cells = slices.Clone(f.Cells)
		for j, c := range f.Cells {
			f.Cells[j] = diff.Cell{Column: text(c.Column), Path: text(c.Path), Left: text(c.Left), Right: text(c.Right)}
		}
		findings[i] = f
	}
	if diff := cmp.Diff(findings, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// What a spreadsheet does with a cell is told by its first character.
func TestNoCellOfTheTableIsAFormula(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	evil := []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "\u3000+1", "＝1", "＋1", "－1", "＠x", "\x00=1", "\ufeff=1"}
	var findings []diff.Finding
	for _, s := range evil {
		findings = append(findings, diff.Finding{Entity: s, SourceID: s, RowID: s, Class: diff.Class(s), Cause: s, Cells: []diff.Cell{{Column: s, Path: s, Left: s, Right: s}, {Column: "a,b\"c", Path: "[0].text", Left: "fine", Right: "x\ny"}}})
	}
	findings = append(findings, diff.Finding{Entity: "tickets", SourceID: "1", Class: diff.Missing, LeftAt: at})
	write(t, dir, equal(t), findings...)
	f, err := os.Open(filepath.Join(dir, report.CSVFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 2*len(evil) + 1; len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	for _, row := range rows {
		for _, cell := range row {
			seen := strings.TrimLeft(cell, " \u00a0\u3000\ufeff")
			if strings.ContainsRune(cell, 0) || seen != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(seen)[0]) {
				t.Errorf("cell %q", cell)
			}
		}
	}
	if diff := cmp.Diff([]string{"tickets", "1", "", "missing", "", "0", "2026-11-20T09:30:00Z", "", "false", "", "", "", ""}, rows[len(rows)-1]); diff != "" {
		t.Errorf("a finding without columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a,b\"c", "[0].text", "fine", "x\ny"}, rows[2][9:]); diff != "" {
		t.Errorf("a harmless cell (-want +got):\n%s", diff)
	}
}

func TestAWriterKeepsNoFinding(t *testing.T) {
	w, err := report.Create(filepath.Join(t.TempDir(), "r"))
	if err != nil {
		t.Fatal(err)
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range 200_000 {
		f := diff.Finding{Entity: "end_users", SourceID: fmt.Sprint("id ", i), Class: diff.Changed, Cells: []diff.Cell{{Column: "email", Left: strings.Repeat("x", 40), Right: "y"}}}
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("200,000 findings keep %d bytes", grown)
	}
	written, err := w.Close(different(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range written.Files {
		if f.Name == report.HTMLFile && f.Bytes > 200<<10 {
			t.Errorf("the page has %d bytes", f.Bytes)
		}
	}
}

// The file's hash can be told by who keeps the report elsewhere.
func TestAReportReadBackIsTheSameFile(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]diff.Report{"equal": equal(t), "different": different(t), "hostile": hostile(t)} {
		r.StartedAt = r.StartedAt.In(time.FixedZone("somewhere", 2*3600)).Add(123456789)
		var once, twice bytes.Buffer
		if err := report.JSON(&once, r); err != nil {
			t.Fatal(err)
		}
		var back diff.Report
		if err := json.Unmarshal(once.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if err := report.JSON(&twice, back); err != nil {
			t.Fatal(err)
		}
		if name == "hostile" { // names that were not UTF-8 fall together as keys of a map
			continue
		}
		if diff := cmp.Diff(once.String(), twice.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
