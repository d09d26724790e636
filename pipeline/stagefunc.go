package pipeline

import "context"

// StageFunc makes a stage of a name and a function.
func StageFunc[In, Out any](name string, process func(ctx context.Context, in []In) (Result[Out], error)) Stage[In, Out] {
	return stageFunc[In, Out]{name, process}
}

type stageFunc[In, Out any] struct {
	name    string
	process func(context.Context, []In) (Result[Out], error)
}

func (s stageFunc[In, Out]) Name() string { return s.name }

func (s stageFunc[In, Out]) Process(ctx context.Context, in []In) (Result[Out], error) {
	return s.process(ctx, in)
}
