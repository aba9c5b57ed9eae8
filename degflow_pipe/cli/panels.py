"""The commands by what one wants to do, as the help shows them, in this order."""

MAKE = "Make pairs"
LOOK = "Look, before a week of training"
TRAINER = "Into an SR trainer"
STORE = "Change a store"
PHOTOS = "Whole photos"
CAMERA = "Your own camera"
JUDGE = "Is it any good?"
