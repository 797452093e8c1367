package pcsc

import (
	"reflect"
	"testing"

	"bipd/internal/testkit"
)

func TestStates(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	for _, atr := range [][]byte{nil, atrT0, atrT1} {
		d.insert(atr)
		got, err := States(testContext(t), Config{Socket: d.socket})
		want := []State{{Name: fakeName, Present: atr != nil, ATR: atr}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("states %+v, %v; want %+v", got, err, want)
		}
	}
	d.set(func() { d.state.ATRLength = maxATR + 1 }) // the card is being reset
	if got, err := States(testContext(t), Config{Socket: d.socket}); err != nil || len(got) != 1 || !got[0].Present || got[0].ATR != nil {
		t.Errorf("states of a reader that is not ready: %+v, %v", got, err)
	}
	d.unlist()
	if got, err := States(testContext(t), Config{Socket: d.socket}); err != nil || len(got) != 0 {
		t.Errorf("states without readers: %+v, %v", got, err)
	}
	if _, err := States(testContext(t), Config{Socket: "/does/not/exist"}); err == nil {
		t.Error("no daemon is no error")
	}
}
