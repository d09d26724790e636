package compare

import (
	"context"
	"iter"
	"slices"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// Keys is a side seen through a list of ids: what it has of these objects now, read by id. With it a diff looks at what
// a repair was about, and at nothing else.
type Keys struct {
	diff.Side
	// IDs are the ids by entity.
	IDs map[string][]string
}

// Fingerprints reads the objects and marks each of them as one to be looked at in full, whatever the level and whatever
// hashes say.
func (k Keys) Fingerprints(ctx context.Context, entity string, _ diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		for ids := range slices.Chunk(k.IDs[entity], diff.FetchBatch) {
			objects, err := k.Fetch(ctx, entity, ids)
			if err != nil {
				yield(nil, err)
				return
			}
			var list []record.Fingerprint
			for i := range objects {
				list = append(list, fingerprintsOf(entity, &objects[i])...)
			}
			if len(list) > 0 && !yield(list, nil) {
				return
			}
		}
	}
}

func fingerprintsOf(entity string, o *diff.Object) []record.Fingerprint {
	f := record.Fingerprint{SourceID: o.SourceID, State: o.State, Count: 1}
	if t := o.Version.UpdatedAt; !t.IsZero() {
		f.UpdatedAt = t.UnixMicro()
	}
	if t := o.Version.FetchedAt; !t.IsZero() {
		f.FetchedAt = t.UnixMicro()
	}
	if entity == knowledge {
		f.Count = int32(max(len(o.Rows), len(o.Change.Knowledge)))
	}
	switch {
	case o.State == record.FingerprintExcluded:
		return nil // there by no fingerprint, only when it is asked for
	case !o.State.Live():
		return []record.Fingerprint{f}
	}
	mark := f
	mark.State = record.FingerprintDoubtful
	return []record.Fingerprint{f, mark}
}
