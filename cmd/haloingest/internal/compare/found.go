package compare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report"
	"haloingest/sinks/postgres"
)

// Found takes what a diff finds: for the folder of a report, for what mends it, and, without values, for the database,
// where it goes when the diff has ended. Until then it waits in a temporary file that has no name. It is diff.Findings.
type Found struct {
	Report  *report.Writer // nil: none is written
	Repairs Repairs

	file *os.File
	name string // where a file in use cannot be removed
	w    *bufio.Writer
	enc  *json.Encoder
}

// NewFound makes one. dir is for the temporary file; "" is the system's.
func NewFound(dir string, databaseLeft bool) (*Found, error) {
	file, err := os.CreateTemp(dir, "haloingest-findings-*") // with mode 0600
	if err != nil {
		return nil, fmt.Errorf("%w: %w", diff.ErrSpill, err)
	}
	f := &Found{Repairs: Repairs{DatabaseLeft: databaseLeft}, file: file, w: bufio.NewWriterSize(file, 64<<10)}
	f.enc = json.NewEncoder(f.w)
	f.enc.SetEscapeHTML(false)
	if os.Remove(file.Name()) != nil {
		f.name = file.Name()
	}
	return f, nil
}

// Find takes one finding.
func (f *Found) Find(_ context.Context, x diff.Finding, _, _ *diff.Object) error {
	f.Repairs.Add(x)
	if f.Report != nil {
		if err := f.Report.Add(x); err != nil {
			return err
		}
	}
	if err := f.enc.Encode(x); err != nil {
		return fmt.Errorf("%w: %w", diff.ErrSpill, err)
	}
	return nil
}

// Save stores the diff and its findings in the database. Values are never stored, shown or not.
func (f *Found) Save(ctx context.Context, db *postgres.DB, r diff.Report) error {
	stored := r
	if r.ShowValues {
		stored.Entities = append([]diff.Entity(nil), r.Entities...)
		for i := range stored.Entities {
			e := &stored.Entities[i]
			e.Samples = append([]diff.Finding(nil), e.Samples...)
			for j := range e.Samples {
				e.Samples[j] = withoutValues(e.Samples[j])
			}
		}
	}
	doc, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("keep diff %s: %w", r.ID, err)
	}
	return db.SaveDiff(ctx, r.Org, postgres.DiffRun{
		ID: r.ID, Left: r.Left, Right: r.Right, Level: string(r.Level), Only: r.Only, Verdict: string(r.Verdict), Sentence: r.Sentence,
		Watermark: r.Watermark, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Report: doc,
	}, f.stored(r.ShowValues))
}

// notKept stands for a value that was shown.
const notKept = "not kept"

func withoutValues(x diff.Finding) diff.Finding {
	cells := make([]diff.Cell, len(x.Cells))
	for i, c := range x.Cells {
		cells[i] = diff.Cell{Column: c.Column, Left: notKept, Right: notKept}
	}
	x.Cells = cells
	return x
}

func (f *Found) stored(shown bool) iter.Seq2[postgres.DiffFinding, error] {
	return func(yield func(postgres.DiffFinding, error) bool) {
		if err := f.w.Flush(); err != nil {
			yield(postgres.DiffFinding{}, fmt.Errorf("%w: %w", diff.ErrSpill, err))
			return
		}
		if _, err := f.file.Seek(0, io.SeekStart); err != nil {
			yield(postgres.DiffFinding{}, fmt.Errorf("%w: %w", diff.ErrSpill, err))
			return
		}
		d := json.NewDecoder(bufio.NewReaderSize(f.file, 64<<10))
		for {
			var x diff.Finding
			err := d.Decode(&x)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(postgres.DiffFinding{}, fmt.Errorf("%w: %w", diff.ErrSpill, err))
				return
			}
			if shown {
				x = withoutValues(x)
			}
			out := postgres.DiffFinding{Entity: x.Entity, SourceID: x.SourceID, Class: string(x.Class), Cause: x.Cause}
			for _, c := range x.Cells {
				out.Columns = append(out.Columns, c.Column)
			}
			if out.Finding, err = json.Marshal(x); err != nil {
				err = fmt.Errorf("keep findings: %w", err)
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// Discard throws away what was written for a report.
func (f *Found) Discard() error {
	if f.Report == nil {
		return nil
	}
	return f.Report.Discard()
}

// Close removes the temporary file.
func (f *Found) Close() error {
	err := f.file.Close()
	if f.name != "" {
		err = errors.Join(err, os.Remove(f.name))
	}
	return err
}
