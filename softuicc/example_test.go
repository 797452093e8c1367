package softuicc_test

import (
	"context"
	"fmt"
	"time"

	"bipd/cat"
	"bipd/softuicc"
)

// A card with one applet meets a terminal that forgets whom its response is for.
func ExampleCard_Violations() {
	card, err := softuicc.New(softuicc.Config{ThinkTime: time.Minute, Applets: []softuicc.Applet{ // the applet is waited for
		func(ctx context.Context, tk *softuicc.Toolkit) error {
			r, err := tk.Do(ctx, &cat.MoreTime{}, 0, cat.DeviceTerminal)
			fmt.Println("applet:", r.Result, err)
			return err
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer card.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, apdu := range [][]byte{
		{0x80, 0x10, 0, 0, 3, 0x01, 0x00, 0x08},                                   // TERMINAL PROFILE: MORE TIME
		{0x80, 0x12, 0, 0, 11},                                                    // FETCH
		{0x80, 0x14, 0, 0, 12, 0x81, 3, 1, 2, 0, 0x82, 2, 0x21, 0x81, 0x83, 1, 0}, // TERMINAL RESPONSE
	} {
		rapdu, err := card.Transmit(ctx, apdu)
		fmt.Printf("%X %v\n", rapdu, err)
	}
	if err := card.Wait(ctx); err != nil {
		fmt.Println(err)
	}
	for _, v := range card.Violations() {
		fmt.Println(v)
	}
	// Unordered output:
	// 910B <nil>
	// D0098103010200820281829000 <nil>
	// applet: performed successfully <nil>
	// 9000 <nil>
	// 6.8.2: device identities 2181 in the response to MORE TIME; they are always 8281, terminal to UICC [801400000C810301020082022181830100]
}
