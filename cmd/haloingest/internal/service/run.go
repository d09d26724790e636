package service

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// serve answers until read is done, and then ends in order; see Run.
func (s *service) serve(ctx, read context.Context) error {
	// Workers that stop because the server has failed stop as softly as those that are asked to.
	working, stopWorking := context.WithCancel(read)
	defer stopWorking()
	s.main.serve(ctx, s.handler, s.log)
	if s.figures != nil {
		h, err := s.figuresHandler()
		if err != nil {
			return err
		}
		s.figures.serve(ctx, h, s.log)
	}
	var crew sync.WaitGroup
	crew.Go(func() { s.crew.run(ctx, working) })
	s.ready.enter(nil)
	err := s.tell(read)
	if err == nil {
		select {
		case <-read.Done():
			s.log.Info("stopping: what is under way is finished")
		case err = <-s.main.failed:
			s.main.failed <- err
			err = fmt.Errorf("serve %s: %w", s.main.url, err)
		}
	}
	// From here on everything ends at once where that is wanted, and else in this order.
	s.ready.enter(errStopping)
	stopWorking()
	if err == nil && s.StopDelay > 0 {
		select {
		case <-time.After(s.StopDelay):
		case <-ctx.Done():
		}
	}
	s.site.Close() // its streams would last for as long as they are watched
	stopped := s.main.stop(ctx)
	s.hooks.Close() // what is accepted is durable
	crew.Wait()
	if s.figures != nil { // so long, that what happened is seen
		_ = s.figures.stop(ctx)
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ErrAborted
	case stopped != nil:
		return fmt.Errorf("stop serving %s: %w", s.main.url, stopped)
	}
	s.log.Info("stopped")
	return nil
}

// tell says that requests are answered, and where.
func (s *service) tell(ctx context.Context) error {
	link, err := s.gate.FirstLink(ctx)
	if err != nil {
		return err
	}
	s.log.Info("serving", "url", s.public, "local", s.main.url)
	if s.Started == nil {
		return nil
	}
	return s.Started(Started{URL: s.public, Local: s.main.url, MetricsURL: s.metricsURL, FirstLink: link})
}
