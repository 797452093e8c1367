package pcsc

import (
	"context"
	"slices"
)

// State is what pcscd says of one reader without a connection to its card.
type State struct {
	Name    string
	Present bool   // a card is in it
	ATR     []byte // of the card, nil while pcscd has none
}

// States gives the state of all readers that pcscd knows, in its order. Errors are those of List.
func States(ctx context.Context, cfg Config) ([]State, error) {
	states, err := readStates(ctx, cfg.filled())
	if err != nil {
		return nil, err
	}
	var list []State
	for i := range states {
		s := &states[i]
		if s.name() == "" {
			continue
		}
		st := State{Name: s.name(), Present: s.State&statePresent != 0}
		if n := s.ATRLength; st.Present && n > 0 && n <= maxATR {
			st.ATR = slices.Clone(s.ATR[:n])
		}
		list = append(list, st)
	}
	return list, nil
}

func readStates(ctx context.Context, cfg Config) (states [maxReaders]stateMessage, err error) {
	c, err := dial(ctx, cfg.Socket, cfg.Timeout)
	if err != nil {
		return states, err
	}
	defer c.close()
	return c.states(ctx, cmdGetReadersState)
}
