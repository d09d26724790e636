package cutover

import (
	"bytes"
	_ "embed" // of the page's body
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"haloingest/sinks/diff/report/folder"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

// Text writes the checklist for a terminal. It ends in the verdict.
func Text(w io.Writer, c Checklist) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Cutover of organisation %s\n%s, looked at %s\n\n", c.Org, page.Capital(c.Workspace), page.Moment(c.At))
	var totals []string
	for _, t := range c.Totals {
		text := page.Count(t.Live) + " " + t.Name
		if t.Deleted > 0 {
			text += fmt.Sprintf(" (and %s deleted)", page.Count(t.Deleted))
		}
		totals = append(totals, text)
	}
	if len(totals) > 0 {
		fmt.Fprintf(&b, "%s\n", strings.Join(totals, ", "))
	}
	for _, item := range c.Items {
		fmt.Fprintf(&b, "\n%-7s  %s%s\n", item.Status, item.Title, item.ago())
		fmt.Fprintf(&b, "         %s\n", item.Evidence)
		if item.Status != Pass {
			for _, d := range item.Details {
				fmt.Fprintf(&b, "         - %s\n", d)
			}
		}
		if item.Advice != "" {
			fmt.Fprintf(&b, "         %s\n", item.Advice)
		}
		for _, line := range item.Next {
			fmt.Fprintf(&b, "           %s\n", line)
		}
	}
	for _, p := range c.Proofs {
		if p.SHA256 != "" {
			fmt.Fprintf(&b, "\nIt relies on diff %s, report.json with SHA-256 %s.\n", p.ID, p.SHA256)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", c.Sentence)
	_, err := w.Write(b.Bytes())
	return err
}

// ago says how old the proof is, where that is not now.
func (i Item) ago() string {
	if i.ProofAt.IsZero() || i.Age == 0 {
		return ""
	}
	return " (proof " + page.Span(i.Age) + " old)"
}

// JSON writes the checklist as cutover.json has it.
func JSON(w io.Writer, c Checklist) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(c)
}

//go:embed cutover.html
var body string

var parsed = sync.OnceValues(func() (*page.Page, error) { return page.New("cutover", body) })

// view is what the page shows.
type view struct {
	Checklist
	Tone, Head, Rest string
	Items            []itemView
	Summary          []string
	Stack            *page.Stack // of the attachments
	Legend           []page.Part
	More             int64 // incomplete conversations that the page does not show
}

type itemView struct {
	Item
	Class, Mark, Ago string
}

// mostOnPage are the incomplete conversations on the page.
const mostOnPage = 100

// HTML writes the checklist as one page for a browser and for paper, with lines to sign. See package page for what it never does.
func HTML(w io.Writer, c Checklist) error {
	p, err := parsed()
	if err != nil {
		return err
	}
	v := view{Checklist: c, Tone: "bad"}
	if c.Safe {
		v.Tone = "good"
	}
	head, rest, _ := strings.Cut(c.Sentence, ". ")
	v.Head, v.Rest = page.Visible(head), page.Visible(rest)
	for _, item := range c.Items {
		iv := itemView{Item: item, Class: strings.ToLower(string(item.Status)), Ago: item.ago()}
		iv.Mark = map[Status]string{Pass: "good", Fail: "bad", Warn: "open", Unknown: "none"}[item.Status]
		v.Items = append(v.Items, iv)
	}
	for _, s := range []Status{Fail, Unknown, Warn, Pass} {
		if n := c.count(s); n > 0 {
			v.Summary = append(v.Summary, fmt.Sprintf("%d %s", n, s))
		}
	}
	if a := c.Attachments; a.Files > 0 {
		for _, p := range []page.Part{{Class: "matched", Label: "saved", N: a.Saved}, {Class: "missing", Label: "could not be saved", N: a.Failed},
			{Class: "changed", Label: "never asked for", N: a.Unasked}, {Class: "excluded", Label: "gone with their conversation or ticket", N: a.Gone}} {
			if p.N > 0 {
				v.Legend = append(v.Legend, p)
			}
		}
		stack := page.NewStack("Attachments", 0, v.Legend...)
		v.Stack = &stack
	}
	if n := len(v.Incomplete); n > mostOnPage {
		v.More, v.Incomplete = int64(n-mostOnPage), v.Incomplete[:mostOnPage]
	}
	return p.Render(w, v.Head+" · "+c.Org.String()+" · haloingest cutover", v)
}

// Names of the files in the folder of a report, beside folder.Sums.
const (
	JSONFile        = "cutover.json"
	TextFile        = "cutover.txt"
	HTMLFile        = "cutover.html"
	AttachmentsFile = "attachments.csv"
	IncompleteFile  = "incomplete.csv"
)

// Writer writes the folder of a report: attachments and incomplete conversations one by one, while they are looked at, and the rest at
// the end. It is not safe for concurrent use. End it with Close or Discard.
type Writer struct {
	folder                  *folder.Folder
	attachments, incomplete *csv.Writer
}

// Create begins a report in dir, which is made if it is missing; a report that is there stays until Close.
func Create(dir string) (*Writer, error) {
	f, err := folder.New(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{folder: f}
	for _, t := range []struct {
		name   string
		into   **csv.Writer
		header []string
	}{
		{AttachmentsFile, &w.attachments, []string{"kind", "source_id", "message_id", "n", "name", "content_type", "size", "url", "state", "path", "bytes", "sha256", "error", "known_at"}},
		{IncompleteFile, &w.incomplete, []string{"source_id", "held", "expected", "cut_by_intercom"}},
	} {
		file, err := f.Create(t.name)
		if err == nil {
			*t.into = csv.NewWriter(file)
			err = (*t.into).Write(t.header)
		}
		if err != nil {
			_ = f.Discard() // nothing is in it
			return nil, err
		}
	}
	return w, nil
}

// Attachment writes a line of the inventory.
func (w *Writer) Attachment(a postgres.Attachment) error {
	state := "never asked for"
	switch {
	case a.Path != "":
		state = "saved"
	case a.Gone:
		state = "gone"
	case a.Known:
		state = "not saved"
	}
	known := ""
	if !a.SavedAt.IsZero() {
		known = a.SavedAt.UTC().Format(time.RFC3339)
	}
	return write(w.attachments, string(a.Kind), a.SourceID, a.MessageID, strconv.Itoa(a.N), a.Name, a.ContentType, number(a.Size), a.URL, state, a.Path, number(a.Bytes), a.SHA256, a.Error, known)
}

// Incomplete writes an incomplete conversation.
func (w *Writer) Incomplete(x Incomplete) error {
	return write(w.incomplete, x.SourceID, strconv.FormatInt(x.Held, 10), number(x.Expected), strconv.FormatBool(x.Cut))
}

func write(to *csv.Writer, cells ...string) error {
	for i := range cells {
		cells[i] = page.Cell(cells[i])
	}
	if err := to.Write(cells); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// number is empty where nothing is known.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Close writes the checklist and publishes all of it.
func (w *Writer) Close(c Checklist) (dir string, err error) {
	for _, t := range []*csv.Writer{w.attachments, w.incomplete} {
		t.Flush()
		if err := t.Error(); err != nil {
			return "", fmt.Errorf("write the report: %w", err)
		}
	}
	for _, part := range []struct {
		name  string
		write func(io.Writer, Checklist) error
	}{{TextFile, Text}, {HTMLFile, HTML}, {JSONFile, JSON}} {
		f, err := w.folder.Create(part.name)
		if err != nil {
			return "", err
		}
		if err := part.write(f, c); err != nil {
			return "", fmt.Errorf("write %s: %w", part.name, err)
		}
	}
	_, err = w.folder.Publish()
	return w.folder.Dir(), err
}

// Discard throws away what was written and was not published.
func (w *Writer) Discard() error { return w.folder.Discard() }
