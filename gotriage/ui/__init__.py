"""The screens: the unprivileged front in a terminal. The only room that knows Textual and Rich."""
