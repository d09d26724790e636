package intercom

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// AttachmentOptions of Attachments. Dir and Org are needed.
type AttachmentOptions struct {
	Dir string // made if it is not there
	Org record.UUID
	// MaxBytes is the size from which on a file is not saved; 100 MiB if zero, as much as Intercom takes from a customer.
	MaxBytes int64
	// Rate bounds all downloads together, in bytes per second; 0 is no such bound.
	Rate int64
	// Concurrency is how many files are downloaded at once, 8 if zero.
	Concurrency int
	// Attempts bounds the tries at one file, 4 if zero.
	Attempts int
	// Stall is how long a server may send nothing, 30 s if zero; Timeout how long one attempt may take in which it sends too
	// little, 15 minutes if zero. Waiting for Rate does not count.
	Stall, Timeout time.Duration
	Log            *slog.Logger
}

// Attachments saves the files that conversations and tickets name, before their links run out (fact sheet, section 6: those of
// ticket attributes after 30 minutes). It is a tap: the files of a batch are durable before the batch moves on, and what
// became of each travels with the batch, as one pipeline.File with a record.ObjectAttachments for each object, to be committed
// with it.
//
// A file is asked for without the token, at hosts of Intercom's only (attachment_host.go). What cannot be saved is
// recorded with the reason and stops nothing. What was saved before, under any run, is read and checked instead.
// Write returns an error only when ctx is done, when the folder fails (ErrFolder), or when the token does.
type Attachments struct {
	client  *Client
	options AttachmentOptions
	address fileAddress
	store   *fileStore
	http    *http.Client
	pace    pace
	failing atomic.Int32 // files in a row that servers have failed to give
	count   struct{ saved, held, failed, bytes atomic.Int64 }
	lost    sync.Map // objects of which a file was not saved, by kind and id
}

// NewAttachments opens the folder. Close it.
func NewAttachments(c *Client, o AttachmentOptions) (*Attachments, error) {
	o.MaxBytes = cmp.Or(o.MaxBytes, 100<<20)
	o.Concurrency = cmp.Or(o.Concurrency, 8)
	o.Attempts = cmp.Or(o.Attempts, 4)
	o.Stall = cmp.Or(o.Stall, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 15*time.Minute)
	if o.MaxBytes < 0 || o.Rate < 0 {
		return nil, fmt.Errorf("keep attachments of %d bytes at %d a second: want 0 or more", o.MaxBytes, o.Rate)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	store, err := openStore(o.Dir, o.Org.String())
	if err != nil {
		return nil, err
	}
	a := &Attachments{client: c, options: o, address: newFileAddress(c.base), store: store, pace: pace{clock: c.opts.Clock, rate: o.Rate}}
	a.http = &http.Client{Transport: newFileTransport(a.address, o.Concurrency, o.Stall), CheckRedirect: a.follow}
	return a, nil
}

// Close ends idle connections and lets go of the folder.
func (a *Attachments) Close() error {
	a.http.CloseIdleConnections()
	return a.store.close()
}

// Name is "attachments".
func (a *Attachments) Name() string { return "attachments" }

// AttachmentStats is what an Attachments has done so far.
type AttachmentStats struct {
	Saved, Held, Failed int64 // files
	Bytes               int64 // downloaded and saved
}

// Stats may be called at any time from any goroutine.
func (a *Attachments) Stats() AttachmentStats {
	return AttachmentStats{a.count.saved.Load(), a.count.held.Load(), a.count.failed.Load(), a.count.bytes.Load()}
}

// HasFailed reports whether a file of that object could not be saved since NewAttachments.
func (a *Attachments) HasFailed(kind record.Kind, id string) bool {
	_, failed := a.lost.Load(path.Join(string(kind), id))
	return failed
}

// Write saves the files of a batch, several at once.
func (a *Attachments) Write(ctx context.Context, b pipeline.Batch[record.Change]) ([]pipeline.File, error) {
	var objects []*fileObject
	var jobs []*fileJob
	byURL := map[string]*fileJob{}
	for i := range b.Items {
		c := &b.Items[i]
		if c.Gone != nil || c.Object == nil || c.Kind != record.KindConversation && c.Kind != record.KindTicket {
			continue
		}
		o := &fileObject{kind: c.Kind, id: c.SourceID, asked: c.Object.ID}
		o.links, o.whole = a.address.find(c.Kind, c.SourceID, c.Object.Body)
		for n := range o.links {
			l := &o.links[n]
			job := byURL[l.URL]
			if job == nil {
				job = &fileJob{object: o, link: l}
				byURL[l.URL] = job
				jobs = append(jobs, job)
			}
			o.jobs = append(o.jobs, job)
		}
		objects = append(objects, o)
	}
	err := pipeline.ForEach(ctx, len(jobs), a.options.Concurrency, func(ctx context.Context, i int) error {
		return a.save(ctx, jobs[i])
	})
	if err != nil {
		return nil, err
	}
	files := make([]pipeline.File, len(objects))
	for i, o := range objects {
		meta := o.meta()
		files[i] = pipeline.File{Path: path.Join(string(o.kind), o.id), Meta: meta}
		for _, f := range meta.Files {
			if f.Path == "" {
				a.lost.Store(files[i].Path, true)
			}
		}
	}
	return files, nil
}

// fileObject is an object whose files are wanted.
type fileObject struct {
	kind  record.Kind
	id    string // as it is stored
	asked string // as it is asked for
	links []fileLink
	jobs  []*fileJob // of each link
	whole bool

	mu    sync.Mutex
	fresh map[string]string // signed addresses by plain ones, read anew; nil: not yet
	why   error             // why not
}

// fileJob is one file to be saved, for all objects of the batch that name it.
type fileJob struct {
	object *fileObject // the first of them
	link   *fileLink
	file   record.AttachmentFile // what became of it
}

func (o *fileObject) meta() record.ObjectAttachments {
	out := record.ObjectAttachments{Kind: o.kind, SourceID: o.id, Whole: o.whole}
	for i, l := range o.links {
		file, became := l.AttachmentFile, o.jobs[i].file
		file.Path, file.Bytes, file.SHA256 = became.Path, became.Bytes, became.SHA256
		// Of several places that name a file, it was downloaded for one.
		file.Held = became.Path != "" && (became.Held || o.jobs[i].link != &o.links[i])
		file.Error, file.Reason, file.Retry = became.Error, became.Reason, became.Retry
		file.ContentType = cmp.Or(file.ContentType, became.ContentType)
		out.Files = append(out.Files, file)
	}
	return out
}

// save gets one file, or the reason why not.
func (a *Attachments) save(ctx context.Context, job *fileJob) error {
	job.file = job.link.AttachmentFile
	f := &job.file
	if k, ok := a.store.lookup(f.URL); ok {
		job.had(k)
		f.Held = true
		a.count.held.Add(1)
		return nil
	}
	k, err := a.fetch(ctx, job)
	if err == nil {
		job.had(k)
		a.count.saved.Add(1)
		a.count.bytes.Add(k.Bytes)
		return nil
	}
	failure, ok := err.(*fileError)
	if !ok {
		return fmt.Errorf("save a file of %s %s: %w", job.object.kind, job.object.id, err)
	}
	f.Error, f.Reason, f.Retry = plain(failure.text, maxMessage), failure.reason, failure.retry
	a.count.failed.Add(1)
	a.options.Log.DebugContext(ctx, "a file is not saved", "kind", string(job.object.kind), "id", job.object.id, "message", f.MessageID, "n", f.N, "why", f.Error)
	return nil
}
