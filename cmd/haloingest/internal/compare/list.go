package compare

import (
	"context"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

// list is the walk of diff.LevelFast over conversations: versions and numbers of
// messages from the pages of the search, one request per 150.
func (l *Live) list(ctx context.Context, kind record.Kind, source pipeline.Source[record.Object], t *tally, yield func([]record.Fingerprint, error) bool) (more bool, err error) {
	p := l.follow(kind, l.expected(ctx, kind))
	for page, err := range source.Pages(ctx, nil) {
		if err != nil {
			return true, err
		}
		list := make([]record.Fingerprint, 0, len(page.Items))
		for _, o := range page.Items {
			row := intercom.ListedAs(o)
			messages := -1
			if l.o.ListMessages && row.Parts >= 0 {
				messages = row.Parts + 1 // the opening message is no part
			}
			list = append(list, record.Fingerprint{
				SourceID: o.ID, UpdatedAt: row.UpdatedAt * 1e6, Count: 1,
				Hash: listingHash(row.UpdatedAt*1e6, messages),
			})
		}
		list = l.takeRejects(list, kind, page.Rejects)
		p.add(int64(len(list)))
		if len(list) > 0 && !yield(list, nil) {
			return false, nil
		}
	}
	p.finish()
	_, more, err = l.complete(ctx, t, yield)
	return more, err
}
