package ingest

import (
	"fmt"
	"log/slog"
	"runtime"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/stages/dedupe"
	"haloingest/stages/distill"
	"haloingest/stages/extract"
	"haloingest/stages/mapids"
)

// Mapping is how objects become rows.
type Mapping struct {
	Org            record.UUID
	UserIDField    string
	CompanyIDField string
	Reference      record.Reference
	Rules          distill.Rules
	Distiller      distill.Distiller // nil: offline
	Log            *slog.Logger
}

// Remade names the stages of Stages that reject, as they stand in rejects.
var Remade = []string{extract.StageName, mapids.StageName}

// Stages joins the stages that make changes of objects. The error names the setting that is wrong.
func Stages(objects pipeline.Flow[record.Object], m Mapping) (pipeline.Flow[record.Change], error) {
	mapping, err := mapids.New(mapids.Config{Org: m.Org, UserIDField: m.UserIDField, CompanyIDField: m.CompanyIDField, Reference: m.Reference})
	if err != nil {
		return pipeline.Flow[record.Change]{}, fmt.Errorf("join the stages: %w", err)
	}
	// Each stage is a goroutine of its own already; distilling is the one that costs.
	items := pipeline.Via(objects, extract.New(extract.Options{Reference: m.Reference}), 1)
	changes := pipeline.Via(items, mapping, 1)
	changes = pipeline.Via(changes, dedupe.New(), 1)
	learn := distill.New(distill.Config{Org: m.Org, Rules: m.Rules, Distiller: m.Distiller, Log: m.Log})
	return pipeline.Via(changes, learn, runtime.GOMAXPROCS(0)), nil
}
