package compare

import (
	"context"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/stages/dedupe"
	"haloingest/stages/distill"
	"haloingest/stages/extract"
	"haloingest/stages/mapids"
)

// stages are those between a source and a sink, as every run has them.
type stages struct {
	extract *extract.Stage
	mapping *mapids.Stage
	dedupe  *dedupe.Stage
	distill *distill.Stage
}

func newStages(o Options, reference record.Reference) (*stages, error) {
	conn := o.Connection
	mapping, err := mapids.New(mapids.Config{
		Org: conn.Org, UserIDField: conn.UserIDField, CompanyIDField: conn.CompanyIDField, Reference: reference,
	})
	if err != nil {
		return nil, err
	}
	return &stages{
		extract: extract.New(extract.Options{Reference: reference}),
		mapping: mapping,
		dedupe:  dedupe.New(),
		distill: distill.New(distill.Config{Org: conn.Org, Rules: o.Rules, Distiller: o.Distiller, Log: o.Log}),
	}, nil
}

// changes takes a few objects through all stages at once.
func (s *stages) changes(ctx context.Context, objects []record.Object) ([]record.Change, []pipeline.Reject, error) {
	if len(objects) == 0 {
		return nil, nil, nil
	}
	items, err := s.extract.Process(ctx, objects)
	if err != nil {
		return nil, nil, err
	}
	rejects := items.Rejects
	if len(items.Items) == 0 {
		return nil, rejects, nil
	}
	changes, err := s.mapping.Process(ctx, items.Items)
	if err != nil {
		return nil, nil, err
	}
	rejects = append(rejects, changes.Rejects...)
	for _, stage := range []pipeline.Stage[record.Change, record.Change]{s.dedupe, s.distill} {
		if len(changes.Items) == 0 {
			break
		}
		if changes, err = stage.Process(ctx, changes.Items); err != nil {
			return nil, nil, err
		}
		rejects = append(rejects, changes.Rejects...)
	}
	return changes.Items, rejects, nil
}
