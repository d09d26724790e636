// Package report shows to people and programs what a diff has found.
//
// # The folder of a report
//
// Writer makes, in the folder that --report names, all of these together or none:
//
//	report.txt         for a terminal, the verdict's sentence first
//	report.html        for a browser; one file, which loads nothing and runs nothing
//	report.json        totals, columns and samples: sinks/diff.Report, whose "version" goes up when a field changes its meaning
//	                   or goes away; new fields may come at any time
//	differences.jsonl  every finding: one sinks/diff.Finding in each line
//	differences.csv    every finding: one line for each column that differs, or one line if none is named
//	SHA256SUMS         the SHA-256 of the others, for sha256sum -c; written last
//
// report.html and report.txt hold totals and samples only, so their size does not depend on how much differs, and neither does the
// memory that a Writer needs.
//
// In differences.csv a cell that a spreadsheet would take for a formula begins with an apostrophe; the other formats hold every
// text as it is.
//
// The findings of an interrupted diff (diff.VerdictPartial) are published like others, and marked as partial in every file but the
// findings themselves.
package report

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report/folder"
	"haloingest/sinks/diff/report/page"
)

// Names of the files in the folder of a report.
const (
	JSONFile  = "report.json"
	TextFile  = "report.txt"
	HTMLFile  = "report.html"
	LinesFile = "differences.jsonl"
	CSVFile   = "differences.csv"
)

// Writer writes the folder of a report: the findings one by one, and the rest at the end. It is not safe for concurrent use. End it
// with Close or Discard.
type Writer struct {
	folder *folder.Folder
	lines  *json.Encoder
	csv    *csv.Writer
	n      int64
	err    error
}

// Create begins a report in dir, which is made if it is missing; a report that is there stays until Close.
func Create(dir string) (*Writer, error) {
	f, err := folder.New(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{folder: f}
	if err := w.begin(); err != nil {
		_ = f.Discard() // nothing is in it
		return nil, err
	}
	return w, nil
}

func (w *Writer) begin() error {
	lines, err := w.folder.Create(LinesFile)
	if err != nil {
		return err
	}
	table, err := w.folder.Create(CSVFile)
	if err != nil {
		return err
	}
	w.lines = json.NewEncoder(lines)
	w.lines.SetEscapeHTML(false)
	w.csv = csv.NewWriter(table)
	return w.csv.Write([]string{"entity", "source_id", "row_id", "class", "cause", "rounds", "left_updated_at", "right_updated_at", "converged", "column", "path", "left", "right"})
}

// Add writes a finding. After an error the report cannot be closed, only discarded.
func (w *Writer) Add(f diff.Finding) error {
	if w.err == nil {
		w.err = w.add(f)
	}
	if w.err != nil {
		return fmt.Errorf("write %s %s to the report: %w", f.Entity, f.SourceID, w.err)
	}
	w.n++
	return nil
}

func (w *Writer) add(f diff.Finding) error {
	if err := w.lines.Encode(f); err != nil {
		return err
	}
	row := []string{f.Entity, f.SourceID, f.RowID, string(f.Class), f.Cause, strconv.Itoa(f.Rounds), stamp(f.LeftAt), stamp(f.RightAt), strconv.FormatBool(f.Converged), "", "", "", ""}
	for i := range row {
		row[i] = page.Cell(row[i])
	}
	if len(f.Cells) == 0 {
		return w.csv.Write(row)
	}
	for _, c := range f.Cells {
		row[9], row[10], row[11], row[12] = page.Cell(c.Column), page.Cell(c.Path), page.Cell(c.Left), page.Cell(c.Right)
		if err := w.csv.Write(row); err != nil {
			return err
		}
	}
	return nil
}

// Added is how many findings were written.
func (w *Writer) Added() int64 { return w.n }

// Written is a published report.
type Written struct {
	Dir   string       `json:"dir"`
	Files []folder.Sum `json:"files"`
}

// JSONSum is the SHA-256 of report.json.
func (w Written) JSONSum() string {
	for _, f := range w.Files {
		if f.Name == JSONFile {
			return f.SHA256
		}
	}
	return ""
}

// Close writes what the report says as a whole and publishes all of it. After an error nothing was published, or, where an older
// report was to be replaced, the folder has no SHA256SUMS.
func (w *Writer) Close(r diff.Report) (Written, error) {
	if w.err != nil {
		return Written{}, fmt.Errorf("close the report: %w", w.err)
	}
	w.csv.Flush()
	if err := w.csv.Error(); err != nil {
		return Written{}, fmt.Errorf("write %s: %w", CSVFile, err)
	}
	for _, part := range []struct {
		name  string
		write func(io.Writer, diff.Report) error
	}{{TextFile, Text}, {HTMLFile, HTML}, {JSONFile, JSON}} {
		f, err := w.folder.Create(part.name)
		if err != nil {
			return Written{}, err
		}
		if err := part.write(f, r); err != nil {
			return Written{}, fmt.Errorf("write %s: %w", part.name, err)
		}
	}
	sums, err := w.folder.Publish()
	return Written{Dir: w.folder.Dir(), Files: sums}, err
}

// Discard throws away what was written and was not published.
func (w *Writer) Discard() error { return w.folder.Discard() }

// JSON writes the report as report.json has it. It is the same, byte by byte, for a report that was read back, so who keeps a report
// in a database can tell the SHA-256 of its file.
func JSON(w io.Writer, r diff.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(normal(r))
}

// Sum is the SHA-256 of the report's report.json, hexadecimal.
func Sum(r diff.Report) (string, error) {
	h := sha256.New()
	if err := JSON(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// normal makes times what they are when read back.
func normal(r diff.Report) diff.Report {
	for _, t := range []*time.Time{&r.Watermark, &r.StartedAt, &r.FinishedAt} {
		*t = t.UTC()
	}
	return r
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
