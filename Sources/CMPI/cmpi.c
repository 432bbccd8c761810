#include "CMPI.h"
int cmpi_placeholder(void){return 0;}
