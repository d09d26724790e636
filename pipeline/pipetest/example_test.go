package pipetest_test

import (
	"context"
	"fmt"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
)

// A run that crashes at its second commit, and the one that takes it up.
func Example() {
	var faults pipetest.Faults
	faults.Panic(pipetest.PointCommit, 2, "the power is gone")
	db := pipetest.Recorder[int]{Faults: &faults}

	run := func() {
		p := pipeline.New(pipeline.Options{})
		source := pipetest.NewSource(pipetest.Split(pipetest.Numbers(7), 3)...)
		pipeline.Into(pipeline.From(p, source, db.Resume()), &db)
		err := p.Run(context.Background(), context.Background())
		fmt.Println(db.State().Items, err)
	}
	run()
	run()
	// Output:
	// [0 1 2] recorder, batch 1: panic: the power is gone
	// [0 1 2 3 4 5 6] <nil>
}
