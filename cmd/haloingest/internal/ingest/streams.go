package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// stream is one source of a run, with its own checkpoint.
type stream struct {
	name    string
	kind    record.Kind
	anew    bool // it has no position worth keeping: what is done is not in its source any more
	counted bool // Intercom tells how many objects it has
	// open makes the source when its turn comes; nil means that there is nothing to read.
	open    func(ctx context.Context) (pipeline.Source[record.Object], error)
	details pipeline.Stage[record.Object, record.Object] // nil: the source's objects are whole
	tap     pipeline.FileSink[record.Object]             // right behind the source; nil: none
}

// plan lists the streams of the run in the order in which they are read: what others refer to first,
// so that links are found at once, and deletions last.
func (r *Run) plan() []stream {
	var list []stream
	switch r.request.Kind {
	case KindRetry:
		for _, kind := range record.Kinds {
			list = append(list, r.retryStream(kind))
		}
		return list
	case KindRepair:
		for _, kind := range record.Kinds {
			list = append(list, r.repairStream(kind))
		}
		return append(list, r.strayStream())
	case KindRefresh:
		return []stream{r.refreshStream(record.KindConversation), r.refreshStream(record.KindTicket)}
	case KindWebhook:
		return nil // see drain.go
	default:
		for _, kind := range record.Kinds {
			if r.wants(kind) {
				list = append(list, r.mainStream(kind))
			}
		}
	}
	if r.request.Kind == KindSync {
		list = append(list, r.followStream(record.KindConversation), r.followStream(record.KindTicket))
	}
	list = append(list, r.unsavedStreams()...)
	// What a first backfill does not see was never there.
	again := !r.runner.Connection.SyncedTo.IsZero() && r.request.Sample == 0
	if again && r.wants(record.KindConversation) {
		list = append(list, r.deletedStream())
	}
	if again && !r.run.Spec.Track { // a full walk reads them with what it has missed
		for _, kind := range []record.Kind{record.KindCompany, record.KindContact} {
			if r.wants(kind) {
				list = append(list, r.reloadStream(kind))
			}
		}
	}
	if r.run.Spec.Track {
		for _, kind := range record.Kinds {
			list = append(list, r.missingStream(kind))
		}
	}
	return list
}

func (r *Run) wants(kind record.Kind) bool {
	return len(r.request.Only) == 0 || slices.Contains(r.request.Only, kind)
}

// mainStream reads all objects of a kind, or those that changed.
func (r *Run) mainStream(kind record.Kind) stream {
	client := r.runner.Client
	options := intercom.StreamOptions{Since: r.request.Since, Sample: r.request.Sample, PageSize: pageSize}
	details := intercom.NewDetails(client, intercom.DetailOptions{Concurrency: r.runner.Concurrency})
	s := stream{name: kind.Stream(), kind: kind, counted: true, details: details}
	s.open = func(ctx context.Context) (pipeline.Source[record.Object], error) {
		now, err := client.ServerTime(ctx)
		if err != nil {
			return nil, err
		}
		options.Until = now.Add(slack)
		switch kind {
		case record.KindCompany:
			return intercom.NewCompanies(client, intercom.CompanyOptions{Sample: r.request.Sample}), nil
		case record.KindContact:
			return intercom.NewContacts(client, options), nil
		case record.KindConversation:
			return intercom.NewConversations(client, options), nil
		default:
			return intercom.NewTickets(client, options), nil
		}
	}
	if kind == record.KindCompany {
		s.details, s.counted = nil, false // a scroll has whole companies, and tells no number
	}
	return s
}

// slack takes in what has changed up to the very second in which a stream begins; Intercom's clock is
// known to about a second. What changes after a row's page was read is in the next sync's overlap.
const slack = 3 * time.Second

// pageSize is the most that Intercom gives: a request less for every 150 objects.
const pageSize = 150

// deletedStream reads which conversations were deleted since the last complete sync.
func (r *Run) deletedStream() stream {
	since := r.runner.Connection.SyncedTo
	if !r.request.Since.IsZero() && r.request.Since.Before(since) {
		since = r.request.Since
	}
	return stream{
		name: "deleted-conversations",
		kind: record.KindConversation,
		open: func(context.Context) (pipeline.Source[record.Object], error) {
			return intercom.NewDeleted(r.runner.Client, intercom.DeletedOptions{Since: since}), nil
		},
	}
}

// missingStream asks one by one for what the finished full walk did not see.
func (r *Run) missingStream(kind record.Kind) stream {
	return stream{
		name: "missing-" + kind.Stream(),
		kind: kind,
		anew: true,
		open: func(ctx context.Context) (pipeline.Source[record.Object], error) {
			at, err := r.run.Checkpoint(ctx, kind.Stream())
			if err != nil {
				return nil, err
			}
			if !at.Complete {
				return nil, nil // skipped: only a finished walk may find something missing
			}
			unseen, err := r.run.Unseen(ctx, kind, postgres.UsualUnseenShare)
			var doubt *postgres.UnseenError
			if errors.As(err, &doubt) {
				r.runner.Log.Warn("deletions not looked for", "why", doubt)
				return nil, nil
			}
			if err != nil || unseen.Count == 0 {
				return nil, err
			}
			return intercom.NewConfirm(r.runner.Client, kind, unseen.IDs), nil
		},
	}
}

// mostReloaded is how many contacts or companies a run loads again, a request for each.
const mostReloaded = 1000

// reloadStream reads the contacts or companies again whose row another one has left: no search tells of them, since nothing of theirs has changed.
func (r *Run) reloadStream(kind record.Kind) stream {
	return stream{
		name: "reload-" + kind.Stream(),
		kind: kind,
		anew: true,
		open: func(ctx context.Context) (pipeline.Source[record.Object], error) {
			ids, err := r.runner.DB.Reloads(ctx, r.runner.Connection.Org, kind, mostReloaded)
			if err != nil {
				return nil, err
			}
			if len(ids) == 0 {
				return nil, r.run.CompleteStream(ctx, "reload-"+kind.Stream())
			}
			return intercom.NewConfirm(r.runner.Client, kind, func(yield func(string, error) bool) {
				for _, id := range ids {
					if !yield(id, nil) {
						return
					}
				}
			}), nil
		},
	}
}

// retryStream tries the rejects of a kind again.
func (r *Run) retryStream(kind record.Kind) stream {
	return stream{
		name: "rejected-" + kind.Stream(),
		kind: kind,
		anew: true,
		open: func(context.Context) (pipeline.Source[record.Object], error) {
			return &rejected{
				db:     r.runner.DB,
				client: r.runner.Client,
				org:    r.runner.Connection.Org,
				filter: postgres.RejectFilter{Kind: string(kind), IDs: r.request.Rejects},
				limit:  max(r.runner.Concurrency, 1),
			}, nil
		},
	}
}

// syncedTo is the instant up to which all changes have been read by runs that began then or later. They began by the
// database's clock, changes are stamped by Intercom's: where Intercom's is behind, the bookmark is set
// back by as much. This machine's clock may be a third one, and says nothing about either.
func (r *Run) syncedTo(ctx context.Context, began time.Time) (time.Time, error) {
	server, err := r.runner.Client.ServerTime(ctx)
	if err != nil {
		return time.Time{}, err
	}
	var now time.Time
	if err := r.runner.DB.Pool().QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
	}
	return began.Add(-max(now.Sub(server), 0)), nil
}
