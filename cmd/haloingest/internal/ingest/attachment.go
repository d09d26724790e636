package ingest

import (
	"context"
	"strings"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

// attachments is the part of a run that saves files. Its methods work on nil, which is a run that saves none.
type attachments struct {
	*intercom.Attachments
	lacking int64 // objects that earlier attempts have loaded without asking for their files
}

// openAttachments sweeps what this organisation's last run left half done, so the caller holds the lease.
func (r *Runner) openAttachments() (*attachments, error) {
	if r.Attachments == nil {
		return nil, nil
	}
	options := *r.Attachments
	options.Org, options.Log = r.Connection.Org, r.Log
	files, err := intercom.NewAttachments(r.Client, options)
	if err != nil {
		return nil, err
	}
	return &attachments{Attachments: files}, nil
}

func (a *attachments) close() error {
	if a == nil {
		return nil
	}
	return a.Close()
}

// tap is the place in the pipeline where files are saved: as soon as it is certain which state of an object is loaded, since
// links run out.
func (a *attachments) tap(flow pipeline.Flow[record.Change]) pipeline.Flow[record.Change] {
	if a == nil {
		return flow
	}
	return pipeline.Tap(flow, a.Attachments)
}

func (a *attachments) progress() *intercom.AttachmentStats {
	if a == nil {
		return nil
	}
	stats := a.Stats()
	return &stats
}

// namesFiles reports whether objects of a kind can name files.
func namesFiles(kind record.Kind) bool {
	return kind == record.KindConversation || kind == record.KindTicket
}

// begin looks at what earlier attempts of a resumed run have loaded without asking for files, and says so.
func (a *attachments) begin(ctx context.Context, r *Run) error {
	if a == nil || !r.run.Resumed {
		return nil
	}
	for _, s := range r.streams {
		if !namesFiles(s.kind) || s.name != s.kind.Stream() {
			continue
		}
		at, err := r.run.Checkpoint(ctx, s.name)
		if err != nil {
			return err
		}
		loaded := Loaded(at.Counts)[s.kind.Table()]
		a.lacking += max(0, loaded[Inserted]+loaded[Updated]+loaded[Equal]+loaded[Stale]-at.Counts[attachmentCount+"objects"])
	}
	if a.lacking > 0 {
		r.runner.Log.Warn("before it was resumed, this run loaded objects without asking for their files; backfill --restart with --attachments asks for all",
			"objects", a.lacking)
	}
	return nil
}

// mostRetried is how many objects of a kind a sync reads again for the sake of their files, a request for each.
const mostRetried = 1000

// unsavedStreams read again what earlier runs could not save files of. A backfill meets all objects anyway.
func (r *Run) unsavedStreams() []stream {
	if r.files == nil || r.request.Kind != KindSync {
		return nil
	}
	var list []stream
	for _, kind := range record.Kinds {
		if namesFiles(kind) && r.wants(kind) {
			list = append(list, stream{name: "attachments-" + kind.Stream(), kind: kind, anew: true, open: r.openUnsaved(kind)})
		}
	}
	return list
}

func (r *Run) openUnsaved(kind record.Kind) func(context.Context) (pipeline.Source[record.Object], error) {
	return func(ctx context.Context) (pipeline.Source[record.Object], error) {
		ids, total, err := r.runner.DB.UnsavedObjects(ctx, r.runner.Connection.Org, kind, mostRetried)
		if err != nil || len(ids) == 0 {
			return nil, err
		}
		if later := total - int64(len(ids)); later > 0 {
			r.runner.Log.Info("files of some objects are left for a later sync", "stream", kind.Stream(), "now", len(ids), "later", later)
		}
		return intercom.NewConfirm(r.runner.Client, kind, func(yield func(string, error) bool) {
			for _, id := range ids {
				// What this very run has tried is not tried twice.
				if !r.files.HasFailed(kind, id) && !yield(id, nil) {
					return
				}
			}
		}), nil
	}
}

// attachmentCount begins the names of the counts that travel with a batch: objects, saved, held, bytes (of those saved),
// failed/<reason> and odd-size (among saved and held).
const attachmentCount = "attachments/"

// countAttachments adds up what became of the files of a batch.
func countAttachments(files []pipeline.File) (counts pipeline.Counts) {
	for _, f := range files {
		o, ok := f.Meta.(record.ObjectAttachments)
		if !ok {
			continue
		}
		counts.Add(attachmentCount+"objects", 1)
		for _, x := range o.Files {
			switch {
			case x.Path == "":
				counts.Add(attachmentCount+"failed/"+x.Reason, 1)
				continue
			case x.Held:
				counts.Add(attachmentCount+"held", 1)
			default:
				counts.Add(attachmentCount+"saved", 1)
				counts.Add(attachmentCount+"bytes", x.Bytes)
			}
			if x.Reason != "" {
				counts.Add(attachmentCount+x.Reason, 1)
			}
		}
	}
	return counts
}

// AttachmentReport is what a run has come to with the files of conversations and tickets, over all of its attempts. A file that
// is named in several places counts in each.
type AttachmentReport struct {
	Objects  int64            `json:"objects"`   // whose files were asked for
	Saved    int64            `json:"saved"`     // downloaded
	Bytes    int64            `json:"bytes"`     // of those
	Held     int64            `json:"held"`      // saved before
	OddSize  int64            `json:"odd_size"`  // saved or held, but not of the size that Intercom states
	NotSaved map[string]int64 `json:"not_saved"` // by reason
	Lacking  int64            `json:"lacking"`   // objects that an earlier attempt has loaded without asking for their files
}

// Failed is how many files are not saved; 0 of nil.
func (a *AttachmentReport) Failed() (n int64) {
	if a == nil {
		return 0
	}
	for _, k := range a.NotSaved {
		n += k
	}
	return n
}

// report reads the counts of a run.
func (a *attachments) report(counts pipeline.Counts) *AttachmentReport {
	if a == nil {
		return nil
	}
	out := &AttachmentReport{
		Objects: counts[attachmentCount+"objects"], Saved: counts[attachmentCount+"saved"], Bytes: counts[attachmentCount+"bytes"],
		Held: counts[attachmentCount+"held"], OddSize: counts[attachmentCount+record.AttachmentOddSize],
		NotSaved: map[string]int64{}, Lacking: a.lacking,
	}
	for name, n := range counts {
		if reason, ok := strings.CutPrefix(name, attachmentCount+"failed/"); ok {
			out.NotSaved[reason] = n
		}
	}
	return out
}
